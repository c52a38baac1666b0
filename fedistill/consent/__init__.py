"""Consent: the study a hospital agrees to, the list of what it sends for it, and who says yes before it leaves."""
