"""Parts that methods share: the loop, where images start, networks to match on."""
