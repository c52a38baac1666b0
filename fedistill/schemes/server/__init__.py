"""The parts that schemes share on the server: pools, networks, recipes, scores."""
