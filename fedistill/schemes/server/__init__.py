"""What schemes have in common on the server: pools, networks, recipes, scores."""
