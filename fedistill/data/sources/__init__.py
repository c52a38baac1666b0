"""Where images come from: MedMNIST, files of one's own, drawn phantoms."""
