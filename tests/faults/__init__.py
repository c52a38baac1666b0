"""Faults put into runs, and what became of them: `make faults`, and what of it is fast enough for every day."""
