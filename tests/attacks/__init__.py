"""What a server, or anybody who reaches a machine, might try; each attempt once got something out.

`python -m attacks` prints a line for each: what it got before, and what refuses it now. `test_attacks.py` asserts it.
"""
