"""Are scores with noise enough to choose a step size by? PneumoniaMNIST, three hospitals.

    PYTHONPATH=tests .venv/bin/python -m benchmarks.noisy_scores --data-root DIR

Networks are trained on the pool of each method with each step size. The sites' validation images choose once with exact
counts, and many times with noise. The test split says what the choices are worth.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from fedistill.config.holdings import holdings
from fedistill.config.load import load_federation
from fedistill.core.malloc import keep_freed_memory
from fedistill.core.seeds import generator, spawn
from fedistill.data import load_dataset
from fedistill.methods import METHODS, Task, settings_for
from fedistill.models import build
from fedistill.privacy.policy.noisy_scores import ScoreNoise, histograms, noisy_tallies, tally_of
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe

GRID = (0.003, 0.01, 0.03)
PILOTS = 2
EPSILONS = (1.0, 4.0, 10.0)
DRAWS = 500
POOLS = [(method, ipc) for method in ("random", "tdm") for ipc in (1, 10)]


class Drawn:
    """A source of noise for a measurement: a site's own cannot be repeated."""

    def __init__(self, number: int) -> None:
        self._generator = generator(0, "noise of scores", number)

    def normal(self, shape: tuple[int, ...], name: str) -> torch.Tensor:
        """Return standard normal numbers, float64."""
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)


def main() -> None:
    """Print a row for each pool: the step size chosen exactly, how often noise chooses it, and the AUC it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--width", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    shares = holdings(load_federation("pneumonia-three"), 0, given.data_root).shares
    test = load_dataset("pneumoniamnist", "test", data_root=given.data_root)
    print("validation images at the sites:", [len(share.val) for share in shares], flush=True)
    print("| pool | ipc | AUC by step size | exact counts | " + " | ".join(f"epsilon {e:g}" for e in EPSILONS) + " |")
    for method, ipc in POOLS:
        images, labels = map(torch.cat, zip(*_released(method, ipc, shares, given.width), strict=True))
        at_sites, tested = [], []
        for lr in GRID:
            trained = [list(_scored(images, labels, lr, n, shares, test, given.width)) for n in range(PILOTS)]
            at_sites.append([[pilot[site] for pilot in trained] for site in range(len(shares))])
            tested.append(100 * np.mean([score(test.labels, pilot[-1])["auc"] for pilot in trained]))
        vals = [share.val.labels for share in shares]
        exact = int(np.argmax([_auc(vals, each, None, 0) for each in at_sites]))
        cells = []
        for epsilon in EPSILONS:
            noise = ScoreNoise(epsilon, len(POOLS), PILOTS * len(GRID), len(POOLS) * PILOTS * len(GRID))
            picks = [_choice(vals, at_sites, noise, number) for number in range(DRAWS)]
            lost = tested[exact] - np.mean([tested[pick] for pick in picks])
            cells.append(f"{100 * np.mean(np.array(picks) == exact):.0f} %, {lost:+.1f}")
        by_size = ", ".join(f"{value:.1f}" for value in tested)
        print(f"| {method} | {ipc} | {by_size} | {GRID[exact]:g} | " + " | ".join(cells) + " |", flush=True)


def _released(method: str, ipc: int, shares: list, width: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for number, share in enumerate(shares):
        task = Task(share.train, ipc, seed=number, width=width)
        made = METHODS[method].run(task, settings_for(method, {}, ipc=ipc))
        yield made.images, made.labels


def _scored(images, labels, lr, number, shares, test, width) -> Iterator[np.ndarray]:
    """Yield a network's probabilities on each site's validation images, and on the test split."""
    network = build("convnet", channels=test.channels, classes=test.n_classes, size=test.size, width=width)
    seed = spawn(number, "evaluate")
    params = fit(network, images, labels, Recipe(steps=300, lr=lr), seed=seed, mirror=test.mirror)
    for split in [*(share.val for share in shares), test]:
        yield probabilities(predict(network, params, split.pixels()), multilabel=False).numpy()


def _choice(vals: list, at_sites: list, noise: ScoreNoise, number: int) -> int:
    """Return the step size chosen: a site's counts of all networks are one question, with one draw of noise."""
    sums = np.zeros(len(GRID) * PILOTS, dtype=object)
    for site, labels in enumerate(vals):
        asked = [pilot for candidate in at_sites for pilot in candidate[site]]
        tallies = noisy_tallies(labels, asked, noise, Drawn(number * len(vals) + site))
        sums = [each if total == 0 else total + each for total, each in zip(sums, tallies, strict=True)]
    aucs = np.array([each.auc for each in sums]).reshape(len(GRID), PILOTS).mean(1)
    return int(np.argmax(aucs))


def _auc(vals: list, candidate: list, noise: None, number: int) -> float:
    """Return the mean AUC of a candidate's networks by exact counts in the same bins."""
    values = []
    for pilot in range(PILOTS):
        parts = [
            tally_of(histograms(labels, candidate[site][pilot]), candidate[site][pilot].shape[1])
            for site, labels in enumerate(vals)
        ]
        values.append(sum(parts[1:], start=parts[0]).auc)
    return float(np.mean(values))


if __name__ == "__main__":
    main()
