"""Near duplicates as they are defined: every picture's correlation with every other, in float64."""

import numpy as np


def near(thumbs, split, same, *, alike=0.998, flat=2.0):
    """The pairs (a, b), a in the earlier split, and their correlations."""
    values = [picture - picture.mean() for picture in thumbs.astype(float)]
    lengths = [np.sqrt(picture @ picture) for picture in values]
    shows = [picture.std() >= flat for picture in values]
    found = {}
    for a in range(len(thumbs)):
        for b in range(len(thumbs)):
            if 0 <= split[a] < split[b] and same[a] != same[b] and shows[a] and shows[b]:
                correlation = values[a] @ values[b] / (lengths[a] * lengths[b])
                if correlation > alike:
                    found[a, b] = correlation
    return found
