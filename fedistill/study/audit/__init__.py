"""Audits: shadows, and the results of attacks on them."""
