"""Ground that every room stands on: seeds, files, the store, text, limits."""
