"""A whole distillation with the shipped presets: processor seconds by phase, peak memory, and AUC on validation images.

    OMP_NUM_THREADS=1 PYTHONPATH=tests .venv/bin/python -m benchmarks.whole SET.npz dc [--as-before]

`--as-before` has five looks, a new real side for every iteration of dc and dm, and for mtt whole epochs and all images
in a step, as presets had before. `--set looks=0` changes a setting.
"""

import argparse
import resource
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fedistill.config.literals import assign
from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.malloc import keep_freed_memory
from fedistill.data import load_dataset
from fedistill.methods import METHODS, Task, settings_for
from fedistill.models import build
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe

RECIPE = Recipe(steps=200, lr=0.01)
NETWORKS = 3
BEFORE = {"views": None, "epoch_images": None, "batch_syn": None, "looks": 5}


def main(words: Sequence[str] | None = None) -> None:
    """Distil once and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--images", type=int, help="of a phantom")
    parser.add_argument("--data-root")
    parser.add_argument("--as-before", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="several times")
    asked = parser.parse_args(words)
    given: dict[str, Any] = {}
    for change in asked.set:
        assign(given, change)
    keep_freed_memory()  # as every process of FeDistill's own does
    named = {"images": asked.images, "data_root": asked.data_root}
    train, val = (load_dataset(asked.dataset, split=split, **named) for split in ("train", "val"))
    settings = settings_for(asked.method, given, ipc=asked.ipc)
    if asked.as_before:
        settings = replace(settings, **{name: value for name, value in BEFORE.items() if hasattr(settings, name)})

    phases: defaultdict[str, float] = defaultdict(float)
    phase, since = "start", time.process_time()

    def heard(event: Event) -> None:
        nonlocal phase, since
        now = time.process_time()
        phases[phase] += now - since  # an event ends what came before it, and begins what it names
        phase, since = event.kind, now

    task = Task(train, asked.ipc, seed=0, draws=1, width=asked.width, val=val, on_event=heard)
    made = METHODS[asked.method].run(task, settings)
    phases[phase] += time.process_time() - since
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items()))
    print(f"whole {sum(phases.values()):.1f} s of a processor; peak {peak:.0f} MiB")

    net = build("convnet", channels=val.channels, classes=val.n_classes, size=val.size, width=asked.width)
    for number in range(NETWORKS):
        seed = seeds.spawn(number, "evaluate")
        params = fit(net, made.images, made.labels, RECIPE, seed=seed, mirror=val.mirror)
        shares = probabilities(predict(net, params, val.pixels()), multilabel=val.multilabel)
        print(f"AUC on validation images {100 * score(val.labels, shares.numpy())['auc']:.1f}")


if __name__ == "__main__":
    main()
