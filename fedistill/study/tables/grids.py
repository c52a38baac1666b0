"""grids/*.png: the synthetic images that left each site, a row a class, and real random ones where they may be shown;
and index.json, which says what each of them shows.

Real images are drawn of the scheme `random` alone, one network's subset. It takes the policy of the sites
(``allow_real_images``), and data that anybody may see: phantoms, or a published set. A hospital's own file is drawn
only where the simulation keeps real images anyway (``keep_real_images``).
"""

from functools import partial
from typing import Any

import numpy as np

from fedistill.config import Simulation
from fedistill.config.scheme import CENTRAL, EVERYONE
from fedistill.core.files import write_atomic
from fedistill.data import MEAN, STD, ImageSet, parse_source
from fedistill.release.release import Release, unpack
from fedistill.study.folder.run_folder import RunFolder
from fedistill.study.tables.comparison import BASELINE

INDEX = "grids/index"
"""Beside the pictures, NAME.json: of each its ``file``, ``site``, ``scheme`` and ``ipc``."""

COLUMNS = 10
GAP = 2


def shows_real(simulation: Simulation) -> bool:
    """Whether pictures of real images may be drawn."""
    federation = simulation.federation
    published = all(parse_source(name).published for name in federation.datasets())
    return federation.policy.allow_real_images and (published or simulation.keep_real_images)


def write_grids(folder: RunFolder, releases: list[Release], test: ImageSet, *, real: bool) -> None:
    """One picture a site, scheme and budget, of the first repeat.

    Args:
        real: whether random real images may be drawn.
    """
    from matplotlib.image import imsave

    index: list[dict[str, Any]] = []
    for release in releases:
        shown = not release.real or (real and release.scheme == BASELINE)
        if not shown or release.seed or release.partition:
            continue
        for ipc in release.sets:
            made = unpack(release.only(ipc, draw=0).sets[ipc], ipc)
            pixels = visible(made.images.numpy().transpose(0, 2, 3, 1))
            labels = made.labels.numpy()
            rows = [pixels] if labels.ndim == 2 else [pixels[labels == c] for c in range(test.n_classes)]
            picture = _tiled([row[:COLUMNS] for row in rows], test.size, test.channels)
            scheme = f"{CENTRAL}{release.scheme}" if release.site == EVERYONE else release.scheme
            # A site's name may end as a scheme's begins: the index tells whose it is, and no name is given twice.
            stem, taken = f"{release.site}-{release.scheme}-ipc{ipc}", {each["file"] for each in index}
            names = (f"{stem}{more}.png" for more in ("", *(f"-{number}" for number in range(2, len(index) + 3))))
            name = next(each for each in names if each not in taken)
            index.append({"file": name, "site": release.site, "scheme": scheme, "ipc": ipc})
            grey = picture.shape[2] == 1
            rgb = np.repeat(picture, 3, 2) if grey else picture
            write_atomic(folder.root / "grids" / name, partial(imsave, arr=rgb, format="png"))
    folder.json(INDEX, {"grids": index})


def visible(images: np.ndarray) -> np.ndarray:
    """Pixels in 0..1. Distilled images go far beyond what a scanner can record: black and white are set at the ends of
    the middle 98 % of all pixels, and never closer than real images have them.
    """
    low, high = np.quantile(images, [0.01, 0.99])
    low, high = min(float(low), -MEAN / STD), max(float(high), (1 - MEAN) / STD)
    return np.asarray(((images - low) / (high - low)).clip(0, 1), np.float32)


def _tiled(rows: list[np.ndarray], size: int, channels: int) -> np.ndarray:
    """Rows of images on white; a class the site does not hold leaves its row empty."""
    wide = max(1, max(len(row) for row in rows))
    side = size + GAP
    canvas = np.ones((len(rows) * side + GAP, wide * side + GAP, channels), np.float32)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * side + GAP, j * side + GAP
            canvas[top : top + size, left : left + size] = image
    return canvas
