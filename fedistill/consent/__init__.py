"""What a hospital agrees to: a study, the finite list of what it sends for it, and who says yes before it leaves."""
