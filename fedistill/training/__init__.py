"""Fit networks: augmentation, recipes, plain and private training, metrics."""
