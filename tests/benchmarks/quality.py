"""Time to the same quality: FeDistill's DC as shipped against the plain loop's curve, on one recipe and test split."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fedistill
from benchmarks import images
from benchmarks.child import Child, Work
from benchmarks.compare import MARGIN, crossings, difference
from benchmarks.curve import PUBLISHED, Curve, read
from benchmarks.scores import RECIPE, Question, answer
from fedistill.core.files import write_atomic
from fedistill.core.store import key_of
from fedistill.methods import method_named, settings_for
from fedistill.methods.run import distill
from fedistill.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Made:
    """FeDistill's images of one seed, and the seconds they took."""

    seed: int
    images: np.ndarray
    wall: float
    cpu: float


def quality(
    source: str,
    root: str | None,
    *,
    curves: Path,
    out: Path,
    networks: int,
    processes: int,
    settings: Mapping[str, Any] | None,
    recipe: Recipe = RECIPE,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The comparison for every budget that there are curves of, by ipc; empty where there are none.

    Args:
        source, root: the image set.
        curves: folder of the files that `benchmarks.curve` writes.
        out: folder for images and scores.
        networks: trained on each set of images.
        processes: networks trained at once.
        settings: of FeDistill's DC, over the shipped ones; None for a measurement, something short for a rehearsal.
        recipe: how the networks are trained.
    """
    found = {}
    for ipc, runs in read(curves, images.stem(source)).items():
        made = [distilled(source, root, ipc, run, out, settings, say) for run in runs]
        at = sorted(set.intersection(*[set(run.images) for run in runs]))
        name = f"{images.stem(source)} ipc {ipc}"
        questions = [
            Question(f"{name}/seed {run.seed}/{label}", pixels, run.seed, k, run.width, recipe)
            for run, ours in zip(runs, made, strict=True)
            for label, pixels in (("FeDistill", ours.images), *((f"plain {i}", run.images[i]) for i in at))
            for k in range(networks)
        ]
        auc = answer(questions, out / "scores.json", source=source, root=root, processes=processes, say=say)
        found[str(ipc)] = judged(name, at, runs, made, auc)
    return found


def judged(
    name: str, at: Sequence[int], runs: Sequence[Curve], made: Sequence[Made], auc: Mapping[str, list[float]]
) -> dict[str, Any]:
    """The two curves, their difference at the end, and the ratios of seconds."""

    def of(label: str) -> np.ndarray:
        return np.array([auc[f"{name}/seed {run.seed}/{label}"] for run in runs])  # (seeds, networks)

    marks = [{"iteration": i, **_point(of(f"plain {i}"), [run.seconds[i] for run in runs])} for i in at]
    ours = _point(of("FeDistill"), [(each.wall, each.cpu) for each in made])
    away = difference(of("FeDistill"), of(f"plain {at[-1]}"))
    return {
        "seeds": [run.seed for run in runs],
        "threads": [run.threads for run in runs],
        "width": [run.width for run in runs],
        "warm": [run.warm for run in runs],
        "plain": marks,
        "FeDistill": ours,
        "whole schedule": at[-1] >= PUBLISHED,
        "difference": away,
        "non-inferior": away["low"] > -MARGIN,
        "times less": {clock: marks[-1][clock] / ours[clock] for clock in ("wall", "cpu")},
        "plain first crosses": crossings(marks, ours),
    }


def _point(auc: np.ndarray, seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    wall, cpu = zip(*seconds, strict=True)
    return {
        "auc": float(auc.mean()),
        "between seeds": float(auc.mean(1).std(ddof=1)) if len(auc) > 1 else None,
        "within seeds": float(auc.std(1, ddof=1).mean()) if auc.shape[1] > 1 else None,
        "wall": float(np.mean(wall)),
        "cpu": float(np.mean(cpu)),
        "samples": {"auc": auc.tolist(), "wall": list(wall), "cpu": list(cpu)},
    }


def distilled(
    source: str,
    root: str | None,
    ipc: int,
    run: Curve,
    out: Path,
    settings: Mapping[str, Any] | None,
    say: Callable[[str], None],
) -> Made:
    """FeDistill's images with the plain run's seed, threads and width; made once, kept by all they depend on."""
    train = images.load(source, "train", root)
    detail = {
        "settings": asdict(settings_for("dc", settings, ipc=ipc)),
        "version": method_named("dc").version,
        "code": _code(),  # a time is that of the code it was taken of, whether or not its images changed
        "images": train.fingerprint(),
        "width": run.width,
        "threads": run.threads,
    }
    path = out / f"FeDistill-{images.stem(source)}-ipc{ipc}-seed{run.seed}-{key_of(detail)[:12]}.npz"
    if not path.is_file():
        say(f"{source}: FeDistill's DC, ipc {ipc}, seed {run.seed}")
        with Child(ours=True, threads=run.threads) as child:
            child.prepare(partial(_distillation, source, root, ipc, run.seed, run.width, settings))
            done = child.run(keep=True)

        def write(partly: Path) -> None:
            with partly.open("wb") as file:
                np.savez(file, images=done.made, seconds=np.array([done.wall, done.cpu]), about=json.dumps(detail))

        write_atomic(path, write)
    with np.load(path) as data:
        return Made(run.seed, data["images"], *map(float, data["seconds"]))


def _distillation(
    source: str, root: str | None, ipc: int, seed: int, width: int, settings: Mapping[str, Any] | None
) -> Work:
    train, val = (images.load(source, split, root) for split in ("train", "val"))
    distill(train, method="dc", ipc=1, width=width, settings={"iterations": 1})  # as the plain loop's clock starts warm

    def work() -> np.ndarray:
        return distill(train, method="dc", ipc=ipc, seed=seed, width=width, settings=settings, val=val).images.numpy()

    return work


def _code() -> str:
    """SHA-256 of the code that distils."""
    digest, package = hashlib.sha256(), Path(fedistill.__file__).parent
    for room in ("distill", "models", "training"):
        for path in sorted((package / room).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
