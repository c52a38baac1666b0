"""The folder of a run: its tables, events and environment."""
