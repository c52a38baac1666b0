"""Print how near the attacker of `copying` comes: ``python -m attacks.small_settings TABLE...`` in tests/.

Each line is one kind of question, asked of `SITES` sites of random pictures; counts are of all their images together.
``breast:SHRINK:METHOD:CLASS:BATCH:ITERATIONS:IPC:ENCODING:WIDTH`` in the place of a table's name asks one site that
holds so many malignant images of BreastMNIST ($MEDMNIST_ROOT), shrunk so many times, matched on an MLP; a tenth part is
the seed that he takes for the right one, 0.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks.copying import Found, Prior, Question, best, copied, fields, in_gradient, near
from fedistill.data.imageset import ImageSet
from fedistill.models import build

SIZE, PUBLIC, OTHERS, SITES = 8, 300, 200, 2


@dataclass(frozen=True)
class Case:
    """A line: what to print, images of the class, what is asked, and how hard the attacker tries."""

    words: str
    n: int
    asked: Sequence[Question]
    tries: int = 1
    steps: int = 3
    finest: float = 1e-3


def one_class(images: np.ndarray) -> ImageSet:
    """A site with a single class."""
    return ImageSet(images, np.zeros(len(images), np.int64), ("a", "b"))


def drawn(n: int, seed: int, *, size: int = SIZE) -> ImageSet:
    """A site of random pictures."""
    return one_class(fields(n, size=size, seed=seed))


def world(size: int = SIZE) -> tuple[Prior, torch.Tensor]:
    """What the attacker knows of such pictures, and pictures at no site."""
    return Prior.of(drawn(PUBLIC, 1001, size=size).pixels()), drawn(OTHERS, 1002, size=size).pixels()


def breast(n: int, seed: int, *, shrink: int) -> tuple[ImageSet, Prior, torch.Tensor]:
    """A site with n of BreastMNIST's malignant images, its class's other images, and its official val and test sets."""
    with np.load(Path(os.environ["MEDMNIST_ROOT"]) / "breastmnist.npz") as file:
        parts = {name: file[name] for name in file.files}

    def shrunk(images: np.ndarray) -> np.ndarray:
        side = images.shape[1] // shrink
        return images.reshape(-1, side, shrink, side, shrink).mean((2, 4)).round().astype(np.uint8)[..., None]

    own = shrunk(parts["train_images"][parts["train_labels"].ravel() == 0])
    own = own[np.random.default_rng(seed).permutation(len(own))]
    public = shrunk(np.concatenate([parts["val_images"], parts["test_images"]]))
    return one_class(own[:n]), Prior.of(one_class(public).pixels()), one_class(own[n:]).pixels()


def attacked(
    site: ImageSet, prior: Prior, others: torch.Tensor, asked: Sequence[Question], *, tries: int = 1, **more: Any
) -> Found:
    """The best of some tries at one site's images."""
    found = []
    for seed in range(tries):
        found += [near(g, site.pixels(), others) for g in copied(asked, site, prior, seed=seed, **more)]
    return best(found)


# Steps on the images that move them as far as they go and stay numbers, in units of each method's own.
LR = {"dm": (1.0, 20.0), "dc": (1.0, 1.0), "dsa": (1.0, 1.0), "mtt": (1.0, 10.0)}


def question(
    method: str, batch: int, *, encoding: str = "float32", iterations: int = 1, lr: float = 1.0, **more: Any
) -> Question:
    """One of a kind; lr is in units of the step that is usual here."""
    name = "batch_expert" if method == "mtt" else "batch_real"
    settings = {name: batch, "iterations": iterations, "lr_img": lr * LR[method][encoding == "uint8"]}
    return Question(method, settings, encoding=encoding, **more)


def batches() -> Iterator[Case]:
    """One step on one batch."""
    for method, width in (("dm", 128), ("dm", 32), ("dc", 32), ("dsa", 32), ("mtt", 32)):
        for encoding, ipc in (("float32", 4), ("uint8", 4), ("float32", 1)):
            for n in (1, 2, 4, 8, 16):
                asked = [question(method, n, encoding=encoding, width=width, ipc=ipc)]
                words = f"{method} mlp {width}, ipc {ipc}, {encoding}, 1 iteration, class and batch of {n}"
                yield Case(words, n, asked, tries=1 if n == 1 else 2, finest=1e-6)


def convnets() -> Iterator[Case]:
    """The same on a ConvNet."""
    for method, width in (("dm", 32), ("dm", 8), ("dc", 8), ("mtt", 8)):
        for encoding in ("float32", "uint8"):
            for n in (1, 2, 4):
                asked = [question(method, n, encoding=encoding, model="convnet", width=width, ipc=4)]
                words = f"{method} convnet {width}, ipc 4, {encoding}, 1 iteration, class and batch of {n}"
                yield Case(words, n, asked, steps=12, finest=1e-6)


def classes() -> Iterator[Case]:
    """Twenty steps on batches of a class."""
    for encoding in ("float32", "uint8"):
        for ipc in (10, 1):
            for n in (4, 8, 16, 32, 48, 96):
                if (encoding, ipc) == ("float32", 1):
                    continue
                asked = [question("dm", 16, encoding=encoding, iterations=20, width=32, ipc=ipc)]
                yield Case(f"dm mlp 32, ipc {ipc}, {encoding}, 20 iterations, batch 16, class of {n}", n, asked)


def others() -> Iterator[Case]:
    """The same for the other methods."""
    for method in ("dc", "dsa", "mtt"):
        for n in (4, 16, 48):
            asked = [question(method, 16, encoding="uint8", iterations=20, width=32, ipc=4)]
            yield Case(f"{method} mlp 32, ipc 4, uint8, 20 iterations, batch 16, class of {n}", n, asked)


def floors() -> Iterator[Case]:
    """At the floors: batches of 32 in a class of 48, 20 steps, uint8."""
    kinds = [("dm", "mlp", 32, 1), ("dm", "mlp", 32, 10), ("dm", "mlp", 128, 10), ("dc", "mlp", 32, 4)]
    kinds += [("dsa", "mlp", 32, 4), ("mtt", "mlp", 32, 4), ("dm", "convnet", 8, 1)]
    for method, model, width, ipc in kinds:
        asked = [question(method, 32, encoding="uint8", iterations=20, model=model, width=width, ipc=ipc)]
        yield Case(f"{method} {model} {width}, ipc {ipc}, uint8, 20 iterations, batch 32, class of 48", 48, asked)
    asked = [question("dm", 32, encoding="uint8", iterations=20, width=32, ipc=ipc) for ipc in (1, 10)]
    yield Case("dm mlp 32, Releases of ipc 1 and 10 together, uint8, 20 iterations, batch 32, class of 48", 48, asked)


def iterations() -> Iterator[Case]:
    """Few steps and many, small batches and large, in a class of 16."""
    for k in (1, 4, 20):
        for batch in (1, 2, 4, 8, 16):
            asked = [question("dm", batch, iterations=k, width=64, ipc=4)]
            yield Case(f"dm mlp 64, ipc 4, float32, class of 16, {k} iterations, batch {batch}", 16, asked)


def releases() -> Iterator[Case]:
    """Several Releases of one whole class."""
    for encoding, sizes in (("float32", (4, 8)), ("uint8", (4, 16, 48))):
        for n in sizes:
            for k in (1, 4, 16):
                if n * k <= 256:
                    first = question("dm", n, encoding=encoding, width=64, ipc=4)
                    asked = [replace(first, seed=s) for s in range(k)]
                    words = f"dm mlp 64, ipc 4, {encoding}, 1 iteration, whole class of {n}, Releases: {k}"
                    yield Case(words, n, asked)


TABLES = {f.__name__: f for f in (batches, convnets, classes, others, floors, iterations, releases)}


def gradients() -> None:
    """Images held as they are by an MLP's whole gradient of one batch of BreastMNIST, three batches of each kind."""
    images, _, rest = breast(98, 0, shrink=1)
    x = images.pixels().double()
    for width in (32, 128, 512, 2560):
        net = build("mlp", channels=1, classes=2, size=28, width=width)
        for batch in (2, 8, 16, 64):
            found = []
            for seed in range(3):
                generator = torch.Generator().manual_seed(seed)
                params = net.init(generator, torch.float64)
                order = torch.randperm(len(x), generator=generator)
                mine, not_mine = x[order[:batch]], torch.cat([x[order[batch:]], rest.double()])
                rows = in_gradient(net, params, mine, torch.zeros(batch).long())
                found.append(near(rows.view(-1, *mine.shape[1:]), mine, not_mine))
            print(f"whole gradient, mlp {width}, batch of {batch}: {together(found)}", flush=True)


def together(found: Sequence[Found]) -> Found:
    """Several sites' as one."""
    first = min(found, key=lambda f: f.share)
    names = ("n", "near", "copies", "m", "near_others", "copies_others")
    counts = (sum(getattr(f, name) for f in found) for name in names)
    return Found(*counts, first.error, first.share)


def main(names: Sequence[str]) -> None:
    """Print these tables."""
    torch.set_num_threads(1)
    prior, strangers = world()
    for name in names:
        if name == "gradients":
            gradients()
            continue
        if name.startswith("breast"):
            _, shrink, method, n, batch, k, ipc, encoding, width, *supposed = name.split(":")
            site, known, rest = breast(int(n), 0, shrink=int(shrink))
            asked = [question(method, int(batch), encoding=encoding, iterations=int(k), ipc=int(ipc), width=int(width))]
            hard: dict[str, Any] = {"steps": 12, "finest": 1e-6} if int(n) <= 4 else {"finest": 1e-3}
            hard |= {"supposed": int(supposed[0])} if supposed else {}
            print(f"{name}: {attacked(site, known, rest, asked, **hard)}", flush=True)
            continue
        for case in TABLES[name]():
            clock = time.monotonic()
            more = {"tries": case.tries, "steps": case.steps, "finest": case.finest}
            found = [attacked(drawn(case.n, s), prior, strangers, case.asked, **more) for s in range(SITES)]
            print(f"{case.words}: {together(found)} ({time.monotonic() - clock:.0f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
