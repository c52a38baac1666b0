"""The house's own rules: who imports whom, what no module may call, whether the READMEs are true."""
