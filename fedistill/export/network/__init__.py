"""A study's networks as files, and their use on new images."""
