"""The command line, ``fedistill``: one file for each group of commands."""
