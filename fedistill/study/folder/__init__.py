"""The folder of a run: its tables, its events, and what it ran on."""
