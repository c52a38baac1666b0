"""Plain textbook versions of what FeDistill computes, written straight from the papers: the yardstick of its speed.

They use PyTorch as its tutorials do (modules, DataLoader, one whole batch at a time) and nothing of FeDistill's.
"""
