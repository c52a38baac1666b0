"""The work of one piece: make the images, train networks on them, keep their probabilities."""

import json
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.worth.form import Form, Piece, key
from benchmarks.worth.sets import load
from fedistill.core.files import write_atomic
from fedistill.core.seeds import spawn
from fedistill.data import ImageSet
from fedistill.methods import METHODS, SyntheticSet, Task
from fedistill.methods.run import distill_budgets
from fedistill.models import build
from fedistill.release.release import Release, pack, unpack
from fedistill.training.fit import fit, predict, probabilities


@dataclass(frozen=True, eq=False)
class Measured:
    """What a piece came to.

    Args:
        probabilities: float32 (networks, N, K), of the images that networks are scored on.
        seconds: of making the images, by the wall's clock.
        size: bytes of the Release that a hospital would send.
        images: how many are in it.
        labels: of the images scored on, int64 (N,) or (N, L).
    """

    probabilities: np.ndarray
    seconds: float
    size: int
    images: int
    labels: np.ndarray


Done = tuple[Piece, Measured | None, bool, str]
"""A piece, what it came to, whether it was computed, and why it failed."""


def attempt(piece: Piece, form: Form, folder: Path, root: str | None) -> Done:
    """Measure a piece; where a method under development fails, say why, so that the other pieces are measured."""
    try:
        each, new = measure(piece, form, folder, root)
    except Exception:
        return piece, None, False, traceback.format_exc()
    return piece, each, new, ""


def measure(piece: Piece, form: Form, folder: Path, root: str | None) -> tuple[Measured, bool]:
    """Return what a piece comes to, and whether it had to be computed: what is kept in the folder is not made again.

    Args:
        folder: where results are kept, one file for each piece.
        root: folder of MedMNIST's files.
    """
    train = load(piece.word, "train", most=form.most, root=root)
    val = load(piece.word, "val", most=form.scored, root=root)
    scored = val if form.split == "val" else load(piece.word, form.split, most=form.scored, root=root)
    looked = val if form.looks and len(val) and not METHODS[piece.method].real else None
    prints = {"train": train.fingerprint(), "val": "" if looked is None else looked.fingerprint()}
    path = folder / f"{piece.dataset}-{piece.scheme.replace('@', '-')}-{piece.seed}-"
    path = path.with_name(path.name + key(piece, form, scored=scored.fingerprint(), **prints)[:16] + ".npz")
    if path.is_file():
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            return Measured(kept["probabilities"], **about, labels=scored.labels), False
    began = time.perf_counter()
    made = _make(piece, form, train, looked)
    seconds = time.perf_counter() - began
    real = METHODS[piece.method].real
    packed = pack(made, real=real)
    sent = Release("alone", piece.method, piece.seed, real, {made.ipc: packed}, {}, {})
    single = sent if made.draw is None else sent.only(made.ipc, draw=0)
    about = {"seconds": seconds, "size": len(single.to_bytes()), "images": len(single.sets[made.ipc])}
    scores = _scores(piece, form, unpack(packed, made.ipc).shown(), scored)
    kept_images = {} if real else {"images": packed.images.numpy(), "image_labels": packed.labels.numpy()}

    def write(partly: Path) -> None:
        with partly.open("wb") as file:
            np.savez_compressed(file, probabilities=scores, about=json.dumps(about), **kept_images)

    write_atomic(path, write)
    return Measured(scores, **about, labels=scored.labels), True


def _make(piece: Piece, form: Form, train: ImageSet, val: ImageSet | None) -> SyntheticSet:
    task = Task(
        train,
        None,
        seed=piece.seed,
        draws=form.networks if METHODS[piece.method].drawn else 1,
        width=form.width,
        val=val,
    )
    [made] = distill_budgets(task, piece.method, [form.ipc], piece.settings).values()
    return made


def _scores(piece: Piece, form: Form, made: SyntheticSet, scored: ImageSet) -> np.ndarray:
    """Return the probabilities of networks trained on these images, unpacked; each on its own draw if there are any.

    A network's seed is its number alone: those of all schemes begin alike, and are compared as pairs.
    """
    shape: dict[str, Any] = {"channels": scored.channels, "classes": scored.n_classes, "size": scored.size}
    network, x, rows = build("convnet", **shape, width=form.width), scored.pixels(), []
    for number in range(form.networks):
        own = slice(None) if made.draw is None else torch.nonzero(made.draw == number).flatten()
        params = fit(
            network,
            made.images[own],
            (made.labels if made.soft is None else made.soft)[own],
            form.recipe(piece.scheme),
            seed=spawn(number, "evaluate"),
            mirror=scored.mirror,
            soft=made.soft is not None,
        )
        rows.append(probabilities(predict(network, params, x), multilabel=scored.multilabel).numpy())
    return np.stack(rows)
