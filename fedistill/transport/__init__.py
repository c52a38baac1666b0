"""Transport: messages between a server and its sites, and what carries them."""
