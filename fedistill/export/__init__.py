"""Out of a study: the pool of synthetic images in common formats, and the networks trained on it."""
