"""What schemes have in common at a site: Releases made, networks trained."""
