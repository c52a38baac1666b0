"""The house's own rules: who imports whom, what no module may call, what the READMEs promise."""
