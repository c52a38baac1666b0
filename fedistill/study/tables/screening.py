"""screens.csv: whether the attacked site's images are closer to its training images than expected by chance.

The nearest pairs are drawn as pictures if real images may be shown. A screen detects copies and proves no privacy (see
`fedistill.privacy.attacks.screens`), which its label says wherever it is shown.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.config import Plan
from fedistill.core.files import write_atomic
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.methods import SyntheticSet
from fedistill.privacy.attacks.screens import LABEL, Pair, Screen, nearest_pairs, screen
from fedistill.privacy.attacks.shadows import SPACES
from fedistill.release.release import unpack
from fedistill.study.audit.auditing import Auditing
from fedistill.study.folder.run_folder import RunFolder
from fedistill.study.orchestrator import Study
from fedistill.study.tables.grids import shows_real, to_visible
from fedistill.study.tables.write import join_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 8


def write_screens(plan: Plan, studies: Sequence[Study], folder: RunFolder) -> None:
    """Write screens.csv and pictures, if there was an audit and the site holds images outside the training set.

    Points of a sweep with equal Releases are screened, and drawn, once.
    """
    known: dict[str, dict[str, Screen]] = {}
    frames = []
    for number, (point, study) in enumerate(zip(plan.points, studies, strict=True)):
        rows = []
        for sent in _sent_images(study.audit):
            key = sent.key
            if key not in known:
                known[key] = {space: screen(sent.images, sent.train, sent.others, space=space) for space in SPACES}
                if shows_real(point.simulation):
                    suffix = f"-{plan.folder_of(number)}" if number else ""
                    name = f"nearest-{sent.name.replace(' ', '-')}{suffix}.png"
                    _draw(known[key]["pixels"], sent, folder, name)
            rows += [{**sent.about, **each.row()} for each in known[key].values()]
        frames.append(_frame(rows))
    if any(len(frame) for frame in frames):
        folder.table("screens", join_points(plan, frames))


@dataclass(frozen=True, eq=False)
class SentImages:
    """The attacked site's images of one scheme and budget, and the real images to compare with.

    Args:
        name: label for people.
        about: columns of its rows.
        images: one draw of the Release; of packed images those they hold.
        train: the site's training images.
        others: the site's held-out images, or its validation images if it has none.
    """

    name: str
    about: dict[str, Any]
    images: SyntheticSet
    train: ImageSet
    others: ImageSet

    @property
    def key(self) -> str:
        """Key of the name and of everything that a screen depends on."""
        pixels = hashlib.sha256(self.images.images.contiguous().numpy().tobytes()).hexdigest()
        labels = self.images.labels.tolist()
        return key_of(
            {
                "made": [self.name, pixels, labels],
                "real": [self.train.fingerprint(), self.others.fingerprint()],
            }
        )


def _sent_images(audit: Auditing) -> list[SentImages]:
    """Return the attacked site's images of the first repeat; none if the site holds no other images."""
    if not audit.verdicts:
        return []
    share = audit.ctx.holdings[0].shares[audit.ctx.sites.index(audit.site)]
    against, others = ("held_out", share.held_out) if len(share.held_out) else ("val", share.val)
    releases = {scheme: r for scheme, r in audit.ctx.releases if (r.site, r.seed, r.partition) == (audit.site, 0, 0)}
    sent: dict[tuple[str, int | None], SentImages] = {}
    for verdict in audit.verdicts if len(others) else ():  # schemes that send networks have no Release
        scheme, ipc, settings = verdict.target.scheme, verdict.target.ipc, verdict.settings
        if scheme not in releases:
            continue
        about = {"simulation": audit.ctx.simulation.name, "site": audit.site, "scheme": scheme, "ipc": ipc}
        about |= {name: getattr(settings, name, None) for name in ("epsilon", "start")} | {"against": against}
        images = unpack(releases[scheme].only(ipc, draw=0).sets[ipc], ipc).shown()
        name = scheme if ipc is None else f"{scheme} ipc{ipc}"
        sent[scheme, ipc] = SentImages(name, about, images, share.train, others)
    return list(sent.values())


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    frame["ipc"] = frame["ipc"].astype("Int64")
    frame["epsilon"] = frame["epsilon"].astype(float)
    return frame.round({name: 6 for name in frame.columns if frame[name].dtype.kind == "f"})


def _draw(nearest: Screen, sent: SentImages, folder: RunFolder, name: str) -> None:
    """Draw the nearest pairs as a picture in ``grids``."""
    pairs = nearest_pairs(nearest, PAIRS)
    if pairs:
        figure = _figure(pairs, sent)
        write_atomic(folder.root / "grids" / name, partial(figure.savefig, format="png", dpi=110))


def _figure(pairs: Sequence[Pair], sent: SentImages) -> "Figure":
    """Return a figure of synthetic images above their nearest training and nearest other image, nearest first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * PAIRS + 1.1, 4.4))
    figure.subplots_adjust(left=0.1, right=0.99, bottom=0.01, top=0.88, hspace=0.2, wspace=0.05)
    axes = figure.subplots(3, PAIRS, squeeze=False)
    synthetic = to_visible(sent.images.images.numpy().transpose(0, 2, 3, 1))
    rows: list[tuple[str, list[tuple[np.ndarray, str]]]] = [
        ("sent", [(synthetic[p.synthetic], "") for p in pairs]),
        ("nearest\ntraining", [(sent.train.images[p.training] / 255, f"{p.to_training:.2g}") for p in pairs]),
        ("nearest\nother", [(sent.others.images[p.held_out] / 255, f"{p.to_held_out:.2g}") for p in pairs]),
    ]
    for places, (name, images) in zip(axes, rows, strict=True):
        for place, shown in zip(places, [*images, *[None] * (PAIRS - len(images))], strict=True):
            place.set_axis_off()
            if shown is not None:
                picture, distance = shown
                place.imshow(np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture, vmin=0, vmax=1)
                place.set_title(distance, fontsize=8, pad=2)
        places[0].text(-0.15, 0.5, name, transform=places[0].transAxes, ha="right", va="center", fontsize=8)
    figure.suptitle(f"{sent.name}: nearest pairs, with distances in pixels. {LABEL.capitalize()}.", fontsize=9)
    return figure
