"""screens.csv: whether what the attacked site sent comes nearer to its training images than chance would have it.

Beside it the nearest pairs as pictures, where real images may be shown. A screen finds copies and proves nothing (see
`fedistill.privacy.attacks.screens`): that is said wherever one is shown.
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
from fedistill.study.tables.grids import shows_real, visible
from fedistill.study.tables.write import together

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 8


def write_screens(plan: Plan, studies: Sequence[Study], folder: RunFolder) -> None:
    """screens.csv and pictures, where there was an audit and the site holds images that nothing was made of.

    Points of a sweep that sent the same are screened once; pictures are of the first point, and of those others that
    sent something else.
    """
    known: dict[str, dict[str, Screen]] = {}
    frames = []
    for number, (point, study) in enumerate(zip(plan.points, studies, strict=True)):
        rows = []
        for sent in _sent(study.audit):
            key = sent.key
            if key not in known:
                known[key] = {space: screen(sent.made, sent.train, sent.others, space=space) for space in SPACES}
                if shows_real(point.simulation):
                    suffix = f"-{plan.folder_of(number)}" if number else ""
                    name = f"nearest-{sent.name.replace(' ', '-')}{suffix}.png"
                    _draw(known[key]["pixels"], sent, folder, name)
            rows += [{**sent.about, **each.row()} for each in known[key].values()]
        frames.append(_frame(rows))
    if any(len(frame) for frame in frames):
        folder.table("screens", together(plan, frames))


@dataclass(frozen=True, eq=False)
class Sent:
    """What the attacked site sent of one scheme and budget, and what that is held against.

    Args:
        name: for people; about: what its rows say of it.
        made: one draw of it.
        train: what it was made of; others: the site's held-out images, or its validation images where it has none.
    """

    name: str
    about: dict[str, Any]
    made: SyntheticSet
    train: ImageSet
    others: ImageSet

    @property
    def key(self) -> str:
        """Of all that a screen of it depends on, and of its name."""
        pixels = hashlib.sha256(self.made.images.contiguous().numpy().tobytes()).hexdigest()
        labels = self.made.labels.tolist()
        return key_of(
            {
                "made": [self.name, pixels, labels],
                "real": [self.train.fingerprint(), self.others.fingerprint()],
            }
        )


def _sent(audit: Auditing) -> list[Sent]:
    """Of the first repeat; nothing where the site holds no other images."""
    if not audit.verdicts:
        return []
    share = audit.ctx.holdings[0].shares[audit.ctx.sites.index(audit.site)]
    against, others = ("held_out", share.held_out) if len(share.held_out) else ("val", share.val)
    kept = {scheme: r for scheme, r in audit.ctx.releases if (r.site, r.seed, r.partition) == (audit.site, 0, 0)}
    found: dict[tuple[str, int | None], Sent] = {}
    for verdict in audit.verdicts if len(others) else ():  # what trains networks alone is not among `kept`
        scheme, ipc, settings = verdict.target.scheme, verdict.target.ipc, verdict.settings
        if scheme not in kept:
            continue
        about = {"simulation": audit.ctx.simulation.name, "site": audit.site, "scheme": scheme, "ipc": ipc}
        about |= {name: getattr(settings, name, None) for name in ("epsilon", "start")} | {"against": against}
        made = unpack(kept[scheme].only(ipc, draw=0).sets[ipc], ipc)
        name = scheme if ipc is None else f"{scheme} ipc{ipc}"
        found[scheme, ipc] = Sent(name, about, made, share.train, others)
    return list(found.values())


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    frame["ipc"] = frame["ipc"].astype("Int64")
    frame["epsilon"] = frame["epsilon"].astype(float)
    return frame.round({name: 6 for name in frame.columns if frame[name].dtype.kind == "f"})


def _draw(found: Screen, sent: Sent, folder: RunFolder, name: str) -> None:
    """The nearest pairs as a picture in ``grids``."""
    pairs = nearest_pairs(found, PAIRS)
    if pairs:
        figure = _figure(pairs, sent)
        write_atomic(folder.root / "grids" / name, partial(figure.savefig, format="png", dpi=110))


def _figure(pairs: Sequence[Pair], sent: Sent) -> "Figure":
    """Synthetic images above their nearest training and their nearest other image, those that come nearest first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * PAIRS + 1.1, 4.4))
    figure.subplots_adjust(left=0.1, right=0.99, bottom=0.01, top=0.88, hspace=0.2, wspace=0.05)
    axes = figure.subplots(3, PAIRS, squeeze=False)
    synthetic = visible(sent.made.images.numpy().transpose(0, 2, 3, 1))
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
