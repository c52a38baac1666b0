"""What the methods share: the loop, where images start, networks to match on."""
