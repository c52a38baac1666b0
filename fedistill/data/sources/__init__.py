"""The sources of images: MedMNIST, a user's own files, drawn phantoms, and what installed packages offer."""
