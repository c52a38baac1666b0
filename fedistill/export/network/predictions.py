"""``fedistill apply``: probabilities for new images, as a table; and for a data set, how good they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fedistill.data import load_dataset
from fedistill.errors import DataError
from fedistill.export.network.model import Model
from fedistill.importing.decode import decode, in_order
from fedistill.importing.listing.folders import list_files
from fedistill.training.metrics import METRICS, score

BATCH = 256
"""Images in memory at once."""

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions for images.

    Args:
        table: a row an image.
        unreadable: name and reason of every file that could not be read.
        scores: of each network, the metrics in 0..1; empty where labels are not known.
        averaged: the metrics of the networks' mean; empty likewise.
    """

    table: pd.DataFrame
    unreadable: list[tuple[str, str]]
    scores: list[dict[str, float]]
    averaged: dict[str, float]


def apply_to_dataset(model: Model, name: str, *, split: str = "test", data_root: str | None = None) -> Predictions:
    """Predict a split of a data set, and score the predictions by its labels.

    Raises:
        DataError: it cannot be loaded, or its images or classes do not fit the model.
    """
    built = model.content.architecture
    one_size = Path(name).suffix == ".npz"
    images = load_dataset(name, split, size=None if one_size else built.size, data_root=data_root)
    if not len(images):
        raise DataError(f"{name} has no images in its {split} split.", expected="at least one")
    if images.class_names != model.class_names:
        raise DataError(
            f"{name} has other classes than the model, or in another order.",
            expected=", ".join(model.class_names)[:300],
            found=", ".join(images.class_names)[:300],
            mend="import the images with --classes in the model's order",
        )
    pixels = model.prepared(images)
    each = np.concatenate([model.predict_each(pixels[i : i + 2 * BATCH]) for i in range(0, len(pixels), 2 * BATCH)], 1)
    mean = each.mean(0)
    table = pd.DataFrame({"image": [f"{split} {k}" for k in range(len(images))]})
    table = pd.concat([table, _columns(model, mean)], axis=1)
    if images.multilabel:
        for k, label in enumerate(model.class_names):
            table[f"label {label}"] = images.labels[:, k]
    else:
        table["label"] = [model.class_names[k] for k in images.labels]
    return Predictions(table, [], [score(images.labels, one) for one in each], score(images.labels, mean))


def apply_to_files(
    model: Model, paths: Sequence[Path], *, threads: int = 1, on_progress: OnProgress = lambda *of: None
) -> Predictions:
    """Predict files, and all images below folders, through the preprocessing of the model's training data.

    A file that cannot be read has a row without probabilities that says why.

    Raises:
        DataError: no file, no readable file, or a model that does not say how images are prepared.
    """
    how = model.preprocessing
    files: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            files += [(each.relative_to(path).as_posix(), each) for each in list_files(path)[0]]
        elif path.is_file():
            files.append((str(path), path))
        else:
            raise DataError(f"There is no file {path}.", mend="check the path")
    if not files:
        raise DataError("There is no image to predict.", expected="image files, or folders with some")
    unreadable: list[tuple[str, str]] = []
    parts: list[pd.DataFrame] = []
    names: list[str] = []
    held: list[np.ndarray] = []

    def flush() -> None:
        if held:
            mean = model.predict_each(np.stack(held)).mean(0)
            parts.append(pd.concat([pd.DataFrame({"image": names}), _columns(model, mean)], axis=1))
            names.clear()
            held.clear()

    read: Iterator = in_order(lambda path: decode(path, how), [path for _, path in files], threads=threads)
    for number, ((name, _), decoded) in enumerate(zip(files, read, strict=True)):
        if decoded.why:
            unreadable.append((name, decoded.why))
            flush()
            parts.append(pd.DataFrame({"image": [name], "unreadable": [decoded.why]}))
        several = len(decoded.images) > 1
        for image, frame in zip(decoded.images, decoded.frames, strict=True):
            names.append(f"{name} picture {frame + 1}" if several else name)
            held.append(image)
        if len(held) >= BATCH:
            flush()
        on_progress("reading images", number + 1, len(files))
    flush()
    if len(unreadable) == len(files):
        raise DataError(
            f"None of {len(files)} files can be read.",
            expected="images",
            found="; ".join(f"{name}: {why}" for name, why in unreadable[:5]),
        )
    return Predictions(pd.concat(parts, ignore_index=True), unreadable, [], {})


def _columns(model: Model, mean: np.ndarray) -> pd.DataFrame:
    """Return the class that is most probable, and all probabilities to six digits."""
    frame = pd.DataFrame(np.round(mean.astype(np.float64), 6), columns=list(model.class_names))
    if model.content.multilabel:
        found = [", ".join(n for n, p in zip(model.class_names, row, strict=True) if p > 0.5) for row in mean]
    else:
        found = [model.class_names[k] for k in mean.argmax(1)]
    frame.insert(0, "predicted", found)
    return frame


def mean_scores(predictions: Predictions) -> dict[str, float]:
    """Return the mean of every metric over the networks, as the study's table has it."""
    return {metric: float(np.mean([each[metric] for each in predictions.scores])) for metric in METRICS}
