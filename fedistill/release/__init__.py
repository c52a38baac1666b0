"""Releases: what leaves a site, on the wire and in files."""
