"""Real nodes: keys, server, hospital, and the doors between them."""
