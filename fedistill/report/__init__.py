"""What people read of a run: tables, figures, and the line that moves while it works."""
