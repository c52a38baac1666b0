"""Messages between server and sites, and their sizes."""
