"""Contents of the airlock, as people at the site look at them: images beside the nearest real ones, and the screens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Context, RecordDict

from fedistill.consent.airlock import find
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.privacy.accounting.ledger_lines import Entry
from fedistill.privacy.attacks.nearest import coordinates, nearest_of_class
from fedistill.privacy.attacks.screens import LABEL, screen
from fedistill.release.release import Release, unpack
from fedistill.transport.protocol.messages import unpack_outcomes, unpack_tallies
from fedistill.transport.site.context import read_context
from fedistill.transport.site.kept import kept, key_for

MOST_SHOWN = 200
"""Images of a Release on the page."""


@dataclass(frozen=True, eq=False)
class ReviewImage:
    """An image that would leave, and the real one of its class that it comes nearest to.

    Args:
        images: float32 in 0..1, (H, W, C) each: what would leave, and the real one; one alone for real images.
        label: in words, with the distance.
    """

    images: tuple[np.ndarray, ...]
    label: str


@dataclass(frozen=True, eq=False)
class Seen:
    """An answer that waits in the airlock, as it is shown.

    Args:
        title: what it is; lines: its figures, in words; pictures: its images; none of networks.
    """

    title: str
    lines: tuple[str, ...]
    pictures: tuple[ReviewImage, ...]


def look(own: Mapping[str, Any], entries: Sequence[Entry], number: int) -> Seen:
    """Return what waits under a number.

    Args:
        own: the node's configuration, of the site's file.
        entries: all lines of its ledger.
        number: of the request.

    Raises:
        SettingError: there is no such number, or what waited is not in the store.
        DataError: the site's images cannot be read.
    """
    one = find(entries, number)
    site = read_context(Context(run_id=0, node_id=0, node_config=dict(own), state=RecordDict(), run_config={}))
    content = kept(site.store, key_for(one.agreement, one.item))
    if content is None:
        raise SettingError(
            f"What waited under {number} is not in the site's store.", mend="it is made when asked again"
        )
    title = f"Request {number}: {one.what}"
    head = [title, f"Study {one.agreement[:12]}, scheme {one.scheme}; {one.state}" + f" by {one.by}" * bool(one.by)]
    if not any(name.startswith("outcome-") for name in content):
        return Seen(title, (*head, *_networks(content)), ())
    [outcome] = unpack_outcomes(content)
    assert outcome.release is not None
    release = Release.from_bytes(outcome.release)
    train, held_out = site.whole(0).train, site.whole(0).held_out
    lines = [*head, f"{len(outcome.release):,} bytes; SHA-256 {one.sha256}", release.privacy]
    pictures: list[ReviewImage] = []
    for ipc, packed in release.sets.items():
        synthetic = unpack(packed, ipc).shown()  # of packed images those they hold: patients would be among these
        budget = "all images" if ipc is None else f"ipc {ipc}"
        kind = "images of patients" if release.real else "images"
        lines.append(f"{budget}: {len(packed)} {kind}{_held_in(packed.pack)}")
        if not release.real:
            lines += _screens(synthetic, train, held_out, budget)
        pictures += _pictures(synthetic, train, budget, real=release.real)
    return Seen(title, tuple(lines), tuple(pictures[:MOST_SHOWN]))


def _held_in(pack: int) -> str:
    """Return what is said of packed images.

    >>> _held_in(2), _held_in(1)
    (', each packed with 2 x 2 smaller ones', '')
    """
    return "" if pack == 1 else f", each packed with {pack} x {pack} smaller ones"


def _networks(content: RecordDict) -> list[str]:
    if "tallies" in content:
        aucs = ", ".join(f"{100 * each.auc:.0f}" for each in unpack_tallies(content))
        return [f"Counts with noise of the server's networks on this site's images. What they tell: AUC {aucs}."]
    count = sum(int(np.prod(array.shape)) for record in content.array_records.values() for array in record.values())
    return [f"Networks of {count:,} numbers in all, trained on this site's images. No picture shows what they tell."]


def _screens(synthetic: SyntheticSet, train: ImageSet, held_out: ImageSet, budget: str) -> list[str]:
    if not len(held_out):
        return [f"{budget}: no images are set aside (held_out), so the screen for copies has nothing to compare with."]
    try:
        result = screen(synthetic, train, held_out, space="pixels")
    except DataError as error:
        return [f"{budget}: no screen: {error.what}"]
    ratios = result.ratio[result.compared]
    least = f"{ratios.min():.2f}" if len(ratios) else "unknown"
    return [
        f"{budget}: {100 * result.nearer:.0f} % are nearer to a training image than to any set aside (chance gives "
        f"{100 * result.expected:.0f} %, p = {result.p:.3f}); the smallest ratio of the distances is {least}, a copy "
        f"has 0 ({LABEL})."
    ]


def _pictures(synthetic: SyntheticSet, train: ImageSet, budget: str, *, real: bool) -> list[ReviewImage]:
    images = _visible(synthetic.images.numpy())
    if real:
        return [ReviewImage((image,), f"{budget}: a patient's image") for image in images[:MOST_SHOWN]]
    near = nearest_of_class(
        coordinates(synthetic.images, "pixels", seed=0),
        synthetic.labels,
        coordinates(train.pixels(), "pixels", seed=0),
        train.targets(),
    )
    beside = _visible(train.pixels().numpy()[np.maximum(near.index, 0)])
    pictures = []
    for i, image in enumerate(images[:MOST_SHOWN]):
        if near.index[i] < 0:
            pictures.append(ReviewImage((image,), f"{budget}: no real image of its class"))
        else:
            pictures.append(ReviewImage((image, beside[i]), f"{budget}: distance {near.distance[i]:.2f}"))
    return pictures


def _visible(images: np.ndarray) -> np.ndarray:
    """Return network input (N, C, H, W) as pixels in 0..1, (N, H, W, C)."""
    low, high = min(float(images.min()), -1.0), max(float(images.max()), 1.0)
    return np.asarray((images.transpose(0, 2, 3, 1) - low) / (high - low), np.float32)
