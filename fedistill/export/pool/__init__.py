"""The pool, or one site's Release, as files that other programs read."""
