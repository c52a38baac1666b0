"""The lines of a comparison: what each asks of sites and trains."""
