"""What a precision costs in quality: DC, DM and MTT with the shipped presets, each precision with the same seeds.

``PYTHONPATH=tests python -m benchmarks.gpu.quality OUT.json SET.npz ...``: test AUC of networks trained on the images,
by set, method, images per class, precision and seed; round after round of seeds until the seconds are used up.
"""

import argparse
import json
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

from fedistill.core.precision import of_training
from fedistill.core.seeds import spawn
from fedistill.data import load_dataset
from fedistill.methods import distill
from fedistill.models import build
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.fit import predict, probabilities
from fedistill.training.metrics import tally
from fedistill.training.recipe import Recipe

METHODS, IPCS, PRECISIONS = ("dc", "dm", "mtt"), (1, 10), ("float32", "tf32", "bfloat16")
NETWORKS = 4


def main() -> None:
    given = _arguments()
    start, results = time.monotonic(), list[dict[str, Any]]()
    sets = {path.stem: [load_dataset(str(path), split) for split in ("train", "val", "test")] for path in given.sets}
    for seed, (name, splits), method, precision in product(range(99), sets.items(), METHODS, PRECISIONS):
        if time.monotonic() - start > given.seconds:
            break
        for ipc, auc in _one(splits, method, precision, seed, given).items():
            results.append({"set": name, "method": method, "ipc": ipc, "precision": precision, "seed": seed, **auc})
        given.out.write_text(json.dumps(results, indent=1))
    print(table(results))


def _one(splits: list, method: str, precision: str, seed: int, given: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """The test AUC by images per class, and the seconds of all budgets' distillation."""
    train, val, test = splits
    begin, device = time.monotonic(), given.device
    made = distill(
        train,
        method=method,
        ipc=list(IPCS),
        seed=seed,
        width=given.width,
        val=val,
        precision=precision,
        device=device,
    )
    seconds = time.monotonic() - begin
    network = build("convnet", channels=train.channels, classes=train.n_classes, size=train.size, width=given.width)
    recipe, found = Recipe(steps=given.steps), {}
    for ipc, images in made.items():
        x, y = images.images.to(device), images.labels.to(device)
        networks = fit_ensemble(
            network,
            x,
            y,
            recipe,
            seeds=[spawn(seed, "network", k) for k in range(NETWORKS)],
            mirror=train.mirror,
            precision=of_training(device),
        )
        scores = [probabilities(predict(network, p, test.pixels()), multilabel=False).numpy() for p in networks]
        aucs = [100 * tally(test.labels, each).auc for each in scores]
        found[ipc] = {"auc": statistics.mean(aucs), "networks": aucs, "seconds": round(seconds, 2)}
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Mean test AUC (%) over seeds and its deviation between them in float32; the other precisions' mean difference
    from float32 at the same seed, with the deviation of that difference.
    """
    lines = [
        "| set, method, ipc | seeds | float32 | tf32 less float32 | bfloat16 less float32 |",
        "|---|---|---|---|---|",
    ]
    by = {(r["set"], r["method"], r["ipc"], r["precision"], r["seed"]): r["auc"] for r in results}
    for name, method, ipc in dict.fromkeys((r["set"], r["method"], r["ipc"]) for r in results):
        seeds = [s for s in range(99) if all((name, method, ipc, p, s) in by for p in PRECISIONS)]
        if not seeds:
            continue
        full = [by[name, method, ipc, "float32", s] for s in seeds]
        cells = [_spread(full)]
        for precision in PRECISIONS[1:]:
            cells.append(_spread([by[name, method, ipc, precision, s] - f for s, f in zip(seeds, full, strict=True)]))
        lines.append(f"| {name}, {method}, {ipc} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.quality", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", type=Path, nargs="+", help="npz files in MedMNIST's form")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which nothing new is begun")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=300, help="of each network's training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
