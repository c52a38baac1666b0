"""The site's side of the wire."""
