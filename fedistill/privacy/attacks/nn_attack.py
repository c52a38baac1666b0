"""The attack on the images themselves: was a record in, judged by how near the synthetic images come to it?

A release whose images resemble what they were made from lies nearer to members than to others. How near is near depends
on the record: a typical one has something near it in any release. So each record's distance to the nearest synthetic
image of its class is held against its own distances over the shadows, as LiRA does with a network's confidence
(Carlini et al., S&P 2022): a likelihood ratio with the log distance as the number.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.privacy.attacks.likelihood import log_ratio
from fedistill.privacy.attacks.nearest import Space, coordinates, nearest, nearest_of_class
from fedistill.privacy.attacks.shadow_design import Design

SAME = 0.01
"""Share of the typical distance below which two images are the same: rounding to eight bits moves an image less."""


def distances(releases: Sequence[SyntheticSet], records: ImageSet, *, space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Compute the distance of each release to each record.

    Args:
        releases: what each shadow released, as the server sees it (after rounding for the wire).
        records: the records attacked, labelled as they were when they were in.
        space: where distances are taken.

    Returns:
        distance: float64 (S, N), to the nearest image of the record's class; where a release has none, of any class.
        absent: bool (S, N), where it has none.
    """
    x, y = coordinates(records.pixels(), space, seed=0), records.targets()
    rows, missing = [], []
    for release in releases:
        points = coordinates(release.images, space, seed=0)
        distance = nearest_of_class(x, y, points, release.labels).distance
        absent = np.isinf(distance)
        if absent.any():
            distance[absent] = nearest(_rows(x, absent), points).distance
        rows.append(distance)
        missing.append(absent)
    return np.stack(rows), np.stack(missing)


def closeness(distance: np.ndarray, absent: np.ndarray, design: Design) -> np.ndarray:
    """Compute nearest-neighbour scores from distances, float64 (S, N); high means member.

    Args:
        distance: of `distances`, float64 (S, N).
        absent: of `distances`, bool (S, N). A site makes images of every class it holds, so a release without a
            record's class says that the record is no member: minus infinity.
        design: who was in which shadow.

    Raises:
        SettingError: arrays that do not fit the design, or distances that are negative or no numbers.
    """
    design.check(distance, "distances")
    if absent.shape != distance.shape or (distance < 0).any():
        raise SettingError(
            "These are no distances.", expected=f"not negative, with absent {distance.shape}", found=absent.shape
        )
    apart = distance[distance > 0]
    least = SAME * float(np.median(apart)) if len(apart) else 1.0
    scores = log_ratio(-np.log(np.maximum(distance, least)), design, variance="fixed", shift="shrunk")
    return np.where(absent, -np.inf, scores)


def _rows(x: Tensor, chosen: np.ndarray) -> Tensor:
    return x[np.flatnonzero(chosen)]
