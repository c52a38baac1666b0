"""Does an exported pool teach a network outside FeDistill what it taught inside?

``PYTHONPATH=tests python -m benchmarks.elsewhere RUN --scheme dm --ipc 10`` exports the pool of a run's first seed in
several formats, trains networks on each by a plain PyTorch loop (modules, an optimiser, a data loader: nothing of
FeDistill), and puts their AUC on the test split beside the table's. The run's recipe must be without augmentation and
have one step size, for the plain loop has neither.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.plain.convnet import ConvNet
from benchmarks.plain.fit import fit
from fedistill.cli.main import cli
from fedistill.config import load_plan
from fedistill.data import load_dataset
from fedistill.study.folder.tables_on_disk import read_table

FORMATS = ("torch", "npz", "png")


@dataclass(frozen=True)
class Elsewhere:
    """AUC of networks, in 0..1: of the run's own, and of those that a plain loop trained on the exported pool."""

    table: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Return how much higher the plain loop's mean is."""
        return float(np.mean(self.plain) - np.mean(self.table))

    @property
    def spread(self) -> float:
        """Return the standard deviation between networks, of both kinds together."""
        return float(np.sqrt((np.var(self.table, ddof=1) + np.var(self.plain, ddof=1)) / 2))


def compare(run: Path, *, scheme: str, ipc: int, to: str, networks: int, data_root: str | None = None) -> Elsewhere:
    """Export a pool of the run's first seed, train on it by the plain loop, and score both on the test split."""
    simulation = load_plan(str(run / "simulation.toml")).first
    recipe = simulation.recipe
    if recipe.augment or len(recipe.lr) > 1:
        raise SystemExit(f"{run}: [recipe] needs augment = false and one lr; see the module's first lines")
    rows = read_table(run / "results.csv")
    rows = rows[(rows["scheme"] == scheme) & (rows["ipc"].astype("float64") == ipc) & (rows["seed"] == 0)]
    [name] = simulation.federation.datasets()
    test = load_dataset(name, "test", data_root=data_root)
    pixels = (torch.from_numpy(test.images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / {"torch": "pool.pt", "npz": "pool.npz", "png": "pool"}[to]
        words = ["export", str(run), "--scheme", scheme, "--ipc", str(ipc), "--to", to, "--out", str(out)]
        cli(words, standalone_mode=False)
        images, labels = read(out)
    scores = []
    for seed in range(networks):
        torch.manual_seed(seed)
        net = ConvNet(images.shape[1], len(test.class_names), width=simulation.width)
        loader = DataLoader(TensorDataset(images, labels), batch_size=recipe.batch, shuffle=True)
        epochs = max(1, round(recipe.steps / len(loader)))
        fit(net, loader, epochs=epochs, lr=recipe.lr[0])
        with torch.no_grad():
            scores.append(auc(net(pixels).softmax(1).numpy(), test.labels))
    return Elsewhere(tuple(rows["auc"].astype("float64")), tuple(scores))


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Read an exported pool as anybody would who has only its README: images in -1..1, and labels."""
    if path.suffix == ".pt":
        content = torch.load(path, weights_only=True)
        return content["images"], content["labels"]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            levels, labels = arrays["train_images"], arrays["train_labels"].reshape(-1)
    else:
        with (path / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        levels = np.stack([np.asarray(Image.open(path / row["image"])) for row in rows])
        names = json.loads((path / "card.json").read_text())["class_names"]
        labels = np.array([names.index(row["label"]) for row in rows])
    levels = levels[..., None] if levels.ndim == 3 else levels
    images = (torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    return images, torch.from_numpy(labels.astype(np.int64))


def auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the ROC curve, of several classes the mean of each against the rest, as MedMNIST's is."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in range(probabilities.shape[1])]))


def main(words: Sequence[str] | None = None) -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--scheme", default="dm")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--data-root")
    chosen = parser.parse_args(words)
    for to in FORMATS:
        of = compare(
            chosen.run,
            scheme=chosen.scheme,
            ipc=chosen.ipc,
            to=to,
            networks=chosen.networks,
            data_root=chosen.data_root,
        )
        print(
            f"{to}: table {100 * np.mean(of.table):.2f} ±{100 * np.std(of.table, ddof=1):.2f}, "
            f"plain loop {100 * np.mean(of.plain):.2f} ±{100 * np.std(of.plain, ddof=1):.2f}, "
            f"difference {100 * of.difference:+.2f}, spread {100 * of.spread:.2f}"
        )


if __name__ == "__main__":
    main()
