"""How good are these images? Networks trained on them by one recipe and scored on the official test split.

Every score is kept as soon as it is known, under a name that says what it is and a digest of all it depends on: a
stopped run goes on where it was.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import images
from benchmarks.child import settle
from fedistill.core.files import write_atomic
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.models import build
from fedistill.training.fit import VERSION, fit, predict, probabilities
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe

# DC's published evaluation, for both sides.
RECIPE = Recipe("native", lr=0.01, steps=None, epochs=300, batch=256, augment=False)


@dataclass(frozen=True, eq=False)
class Question:
    """One network to train and score.

    Args:
        name: says what it is; with the digest, its name among the scores.
        made: float32 (K x ipc, C, H, W), class after class.
        seed: of the distillation; with `network`, of the network, so that both sides train the same ones.
        network: its number.
    """

    name: str
    made: np.ndarray
    seed: int
    network: int
    width: int
    recipe: Recipe

    def key(self, test: str) -> str:
        detail = {
            "images": hashlib.sha256(np.ascontiguousarray(self.made).tobytes()).hexdigest(),
            "seed": self.seed,
            "network": self.network,
            "width": self.width,
            "recipe": self.recipe.detail(),
            "test": test,
            "version": VERSION,
        }
        return f"{self.name}/{key_of(detail)[:16]}"


def answer(
    questions: Iterable[Question],
    path: Path,
    *,
    source: str,
    root: str | None,
    processes: int,
    say: Callable[[str], None],
) -> dict[str, list[float]]:
    """The AUC of every question, by name in the order of `network`.

    Args:
        path: the JSON file that keeps the scores.
        source, root: the image set, and where its files are.
        processes: how many networks are trained at once, on one thread each.
    """
    questions = list(questions)
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    test = images.load(source, "test", root).fingerprint()
    keys = [question.key(test) for question in questions]
    missing = [(key, q) for key, q in zip(keys, questions, strict=True) if key not in known]
    say(f"{source}: {len(questions) - len(missing)} networks known, {len(missing)} to train")
    if missing:
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=spawned, initializer=_begin, initargs=(source, root)) as pool:
            running = {pool.submit(_score, question): key for key, question in missing}
            try:
                for done, future in enumerate(as_completed(running), 1):
                    known[running[future]] = future.result()
                    write_atomic(path, json.dumps(known, indent=0))
                    if done % 10 == 0:
                        say(f"{source}: {done} of {len(missing)} networks")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    found: dict[str, list[float]] = {}
    for key, question in zip(keys, questions, strict=True):
        found.setdefault(question.name, []).append(known[key]["auc"])
    return found


_test: ImageSet | None = None


def _begin(source: str, root: str | None) -> None:
    global _test
    settle(ours=True, threads=1)
    _test = images.load(source, "test", root)


def _score(question: Question) -> dict[str, float]:
    assert _test is not None
    network = build("convnet", channels=_test.channels, classes=_test.n_classes, size=_test.size, width=question.width)
    made = torch.from_numpy(question.made)
    labels = torch.arange(_test.n_classes).repeat_interleave(len(made) // _test.n_classes)
    seed = spawn(question.seed, "benchmark", "network", question.network)
    params = fit(network, made, labels, question.recipe, seed=seed, mirror=_test.mirror)
    return score(_test.labels, probabilities(predict(network, params, _test.pixels()), multilabel=False).numpy())
