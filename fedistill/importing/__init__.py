"""From a hospital's folders to one ``.npz``: files are found, read, brought to one size, split, checked and described.

Importing this costs NumPy and nothing else. What reads a kind of file is imported when such a file is met.
"""
