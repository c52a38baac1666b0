"""What pages are made of: HTML, style and script, as text in Python files.

Files of their own kinds (.html, .css, .js) could not come along where Flower runs the apps: a bundle takes Python and
TOML, and refuses the rest.
"""
