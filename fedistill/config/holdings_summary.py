"""Holdings without pixels: the counts and fingerprints that a driver keeps after it has checked the data.

A sweep divides the same data again and again; with every division's images kept, a large set would fill the memory.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from fedistill.config.holdings import Holdings, Share
from fedistill.data import ImageSet


@dataclass(frozen=True, eq=False)
class Counted(ImageSet):
    """An ImageSet that has lost its pixels: it can be counted and told from others, and no more.

    Args:
        known: the fingerprint of the whole.

    >>> whole = ImageSet(np.full((2, 8, 8, 1), 7, np.uint8), np.array([0, 1]), ("no", "yes"))
    >>> left = counted(whole)
    >>> len(left), left.counts().tolist(), left.fingerprint() == whole.fingerprint(), bool(left.images.any())
    (2, [1, 1], True, False)
    """

    known: str = field(kw_only=True)

    def fingerprint(self) -> str:
        """Return the fingerprint of the set that had the pixels."""
        return self.known


def counted(whole: ImageSet) -> Counted:
    """Return an ImageSet without its pixels."""
    parts = {name: getattr(whole, name) for name in ImageSet.__dataclass_fields__}
    parts["images"] = np.broadcast_to(np.uint8(0), whole.images.shape)  # no memory, and read-only
    return Counted(**parts, known=whole.fingerprint())


def census(held: Holdings) -> Holdings:
    """Return everybody's share without its pixels."""
    shares = [Share(counted(s.train), counted(s.val), counted(s.held_out)) for s in held.shares]
    return replace(held, shares=tuple(shares))
