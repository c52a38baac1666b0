"""A site's rules, and the checks that keep them."""
