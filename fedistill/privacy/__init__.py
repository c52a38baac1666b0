"""Privacy of what sites share: policy, accounting and attacks."""
