"""The parts that schemes share at a site: making Releases, training networks."""
