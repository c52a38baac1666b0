"""Attacks, and the statistics of what they find."""
