"""The backends that run work: this process or Ray."""
