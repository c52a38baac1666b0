"""How good is one synthetic set? Fresh networks trained on it alone, scored on a test split."""

from pathlib import Path

import pandas as pd
import torch

from fedistill.core.seeds import spawn
from fedistill.data import ImageSet
from fedistill.errors import DataError, FedistillError
from fedistill.methods import SyntheticSet
from fedistill.models import build
from fedistill.release.release import Release, unpack
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.metrics import METRICS, score
from fedistill.training.recipe import Recipe


def evaluate(
    synthetic: SyntheticSet | str | Path,
    test: ImageSet,
    *,
    model: str = "convnet",
    width: int = 128,
    seeds: int = 5,
    recipe: Recipe | None = None,
) -> pd.DataFrame:
    """Train networks on a synthetic set and score them.

    Args:
        synthetic: the set, or a Release file with one budget.
        test: what they are scored on; choose nothing by it.
        model, width: of the networks.
        seeds: how many, each from its own seed.
        recipe: how they are trained; the common recipe at step size 0.01 unless given.

    Returns:
        a row per seed with ``seed, accuracy, auc, balanced_accuracy, f1_macro``, the metrics in 0..1.

    Raises:
        DataError: the set and the test images do not fit each other.
        FedistillError: no such file, or no Release.

    >>> import numpy as np
    >>> x = ImageSet(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1]), ("no", "yes"))
    >>> s = SyntheticSet(x.pixels(), x.targets(), ipc=2)
    >>> rows = evaluate(s, x, width=4, seeds=2, recipe=Recipe(steps=2))
    >>> list(rows.columns), len(rows)
    (['seed', 'accuracy', 'auc', 'balanced_accuracy', 'f1_macro'], 2)
    """
    made = synthetic if isinstance(synthetic, SyntheticSet) else _read(Path(synthetic))
    if made.images.shape[1:] != (test.channels, test.size, test.size):
        raise DataError(
            "The synthetic images are not shaped like the test images.",
            expected=(test.channels, test.size, test.size),
            found=tuple(made.images.shape[1:]),
        )
    if made.labels.ndim != test.labels.ndim or (made.labels.ndim == 1 and int(made.labels.max()) >= test.n_classes):
        raise DataError("The synthetic labels are not of the test images' classes.", expected=test.class_names)
    network = build(model, channels=test.channels, classes=test.n_classes, size=test.size, width=width)
    recipe = recipe or Recipe()
    x = test.pixels()
    rows = []
    for seed in range(seeds):
        params = fit(network, made.images, made.labels, recipe, seed=spawn(seed, "evaluate"), mirror=test.mirror)
        scores = probabilities(predict(network, params, x), multilabel=test.multilabel)
        measured = score(test.labels, scores.numpy())
        rows.append({"seed": seed, **{metric: measured[metric] for metric in METRICS}})
    return pd.DataFrame(rows)


def _read(path: Path) -> SyntheticSet:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FedistillError(f"{path} cannot be read.", expected="a Release file", found=error.strerror) from error
    release = Release.from_bytes(data)
    if len(release.sets) != 1:
        raise DataError(
            f"{path} holds several budgets.", expected="one", found=list(release.sets), mend="pass one SyntheticSet"
        )
    [(ipc, packed)] = release.sets.items()
    made = unpack(packed, ipc)
    if made.draw is not None:
        first = torch.nonzero(made.draw == 0).flatten()
        made = SyntheticSet(made.images[first], made.labels[first], ipc, made.lr)
    return made
