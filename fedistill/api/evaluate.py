"""The quality of one synthetic set: new networks are trained on it and scored on a test split."""

from pathlib import Path

import pandas as pd

from fedistill.core.seeds import spawn
from fedistill.core.settings import checked_table
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
        test: images to score them on; make no choice by it.
        model: name of the architecture.
        width: of the networks.
        seeds: number of networks, each with its own seed.
        recipe: of the training; default the common recipe at step size 0.01.

    Returns:
        A row per seed with ``seed, accuracy, auc, balanced_accuracy, f1_macro``, the metrics in 0..1.

    Raises:
        DataError: shapes or labels of the set and the test images differ.
        SettingError: a value of the recipe is of another type, or out of range.
        FedistillError: the file does not exist, or is no Release.

    >>> import numpy as np
    >>> x = ImageSet(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1]), ("no", "yes"))
    >>> s = SyntheticSet(x.pixels(), x.targets(), ipc=2)
    >>> rows = evaluate(s, x, width=4, seeds=2, recipe=Recipe(steps=2))
    >>> list(rows.columns), len(rows)
    (['seed', 'accuracy', 'auc', 'balanced_accuracy', 'f1_macro'], 2)
    """
    train = (synthetic if isinstance(synthetic, SyntheticSet) else _read(Path(synthetic))).shown()
    if train.images.shape[1:] != (test.channels, test.size, test.size):
        raise DataError(
            "The synthetic images and the test images have different shapes.",
            expected=(test.channels, test.size, test.size),
            found=tuple(train.images.shape[1:]),
        )
    if train.labels.ndim != test.labels.ndim or (train.labels.ndim == 1 and int(train.labels.max()) >= test.n_classes):
        raise DataError("The synthetic labels are not among the test images' classes.", expected=test.class_names)
    network = build(model, channels=test.channels, classes=test.n_classes, size=test.size, width=width)
    recipe = recipe or Recipe()
    checked_table(Recipe, vars(recipe), "the recipe")
    x = test.pixels()
    rows = []
    for seed in range(seeds):
        params = fit(
            network,
            train.images,
            train.labels if train.soft is None else train.soft,
            recipe,
            seed=spawn(seed, "evaluate"),
            mirror=test.mirror,
            soft=train.soft is not None,
        )
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
    [ipc] = release.sets
    return unpack(release.only(ipc, draw=0).sets[ipc], ipc)
