"""Where work runs: in this process, on Ray, in Flower's runtime."""
