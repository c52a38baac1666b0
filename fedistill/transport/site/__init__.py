"""A site's side of the wire."""
