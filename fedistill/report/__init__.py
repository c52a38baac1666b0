"""Reports of a run for people: tables, figures, and the line that moves while it works."""
