"""grids/*.png: the images of each Release, one row for each class, and index.json, which describes each picture.

Real images are shown only for the scheme `random`, one network's subset, if the sites' policy allows it
(``allow_real_images``) and the data are public: phantoms, or a published set. A hospital's own file is shown only if
the simulation keeps real images anyway (``keep_real_images``).
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
"""Name of the index, which has ``file``, ``site``, ``scheme`` and ``ipc`` of each picture."""

COLUMNS = 10
GAP = 2


def shows_real(simulation: Simulation) -> bool:
    """Return whether pictures of real images are allowed."""
    federation = simulation.federation
    published = all(parse_source(name).published for name in federation.datasets())
    return federation.policy.allow_real_images and (published or simulation.keep_real_images)


def write_grids(folder: RunFolder, releases: list[Release], test: ImageSet, *, real: bool) -> None:
    """Write one picture for each site, scheme and budget of the first repeat.

    ``real`` says whether random real images are allowed; ``test`` gives classes and shape.
    """
    from matplotlib.image import imsave

    index: list[dict[str, Any]] = []
    for release in releases:
        shown = not release.real or (real and release.method == BASELINE)
        if not shown or release.seed or release.partition:
            continue
        for ipc in release.sets:
            synthetic = unpack(release.only(ipc, draw=0).sets[ipc], ipc)
            pixels = to_visible(synthetic.images.numpy().transpose(0, 2, 3, 1))
            labels = synthetic.labels.numpy()
            rows = [pixels] if labels.ndim == 2 else [pixels[labels == c] for c in range(test.n_classes)]
            picture = _tile([row[:COLUMNS] for row in rows], test.size, test.channels)
            scheme = f"{CENTRAL}{release.scheme}" if release.site == EVERYONE else release.scheme
            # Site and scheme may join to equal file names: number them, and let the index say whose each is.
            stem, taken = f"{release.site}-{release.scheme}-ipc{ipc}", {each["file"] for each in index}
            names = (f"{stem}{more}.png" for more in ("", *(f"-{number}" for number in range(2, len(index) + 3))))
            name = next(each for each in names if each not in taken)
            index.append({"file": name, "site": release.site, "scheme": scheme, "ipc": ipc})
            grey = picture.shape[2] == 1
            rgb = np.repeat(picture, 3, 2) if grey else picture
            write_atomic(folder.root / "grids" / name, partial(imsave, arr=rgb, format="png"))
    folder.json(INDEX, {"grids": index})


def to_visible(images: np.ndarray) -> np.ndarray:
    """Return pixels in 0..1, float32, of network input.

    Distilled images exceed the range of a scanner: black and white are set at the 1st and 99th percentile of all
    pixels, but never inside the range of real images.
    """
    low, high = np.quantile(images, [0.01, 0.99])
    low, high = min(float(low), -MEAN / STD), max(float(high), (1 - MEAN) / STD)
    return np.asarray(((images - low) / (high - low)).clip(0, 1), np.float32)


def _tile(rows: list[np.ndarray], size: int, channels: int) -> np.ndarray:
    """Return rows of images on white; the row of a class without images is empty."""
    wide = max(1, max(len(row) for row in rows))
    side = size + GAP
    canvas = np.ones((len(rows) * side + GAP, wide * side + GAP, channels), np.float32)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * side + GAP, j * side + GAP
            canvas[top : top + size, left : left + size] = image
    return canvas
