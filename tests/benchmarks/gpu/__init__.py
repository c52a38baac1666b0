"""What a GPU makes of FeDistill: textbook loops and FeDistill's in turn, and both against the card's own ceilings."""
