"""Listings of what to import: one file for each way in which a hospital says which image has which label."""
