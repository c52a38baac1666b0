"""Schemes: what a site can share, one file each: settings, conditions, what a site answers, the server's side."""
