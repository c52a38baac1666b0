"""The plain loop's own curve: its images and its seconds after so many iterations, kept for `quality`.

    python -m benchmarks.curve DIR/pneumoniamnist.npz OUT --seed 0

A whole run takes an hour of one core: one file a seed, and the same command goes on where a stopped one was.
"""

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import images
from benchmarks.plain.dc import State, dc
from fedistill.core.files import write_atomic

MARKS = (0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 280, 400, 500, 700, 850, 1000)
PUBLISHED = 1000  # iterations
EVERY = 20  # iterations: what a stopped run loses at most

# What a run without these options takes, and what a file that does not say was made with.
THREADS, WIDTH = 1, 128


@dataclass(frozen=True, eq=False)
class Curve:
    """The plain loop's run with one seed.

    Args:
        images: by iteration, float32 (K x ipc, C, H, W), class after class.
        seconds: by iteration, (wall, cpu) since the start.
        threads, width: it ran with.
        warm: whether the clock started after what PyTorch loads at first use (about a second).
    """

    seed: int
    images: dict[int, np.ndarray]
    seconds: dict[int, tuple[float, float]]
    threads: int
    width: int
    warm: bool


def training_images(source: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The training split of a MedMNIST file, or of a phantom by name: float32 (N, C, 28, 28) in -1..1, int64 (N,)."""
    if source.startswith("phantom:"):
        drawn = images.load(source, "train", None)
        return drawn.pixels(), drawn.targets()
    with np.load(source) as data:
        x, y = data["train_images"], data["train_labels"][:, 0]
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return (torch.from_numpy(x).float() / 255 - 0.5) / 0.5, torch.from_numpy(y.astype(np.int64))


def read(folder: Path, stem: str) -> dict[int, list[Curve]]:
    """The curves of one set that a folder holds, by ipc, in the order of their seeds."""
    found: dict[int, list[Curve]] = {}
    for path in sorted(folder.glob(f"{stem}-ipc*-seed*.npz")):
        named = re.fullmatch(rf"{re.escape(stem)}-ipc(\d+)-seed(\d+)", path.stem)
        if named is None:
            continue
        with np.load(path) as data:
            at = sorted(int(name.removeprefix("images")) for name in data.files if name.startswith("images"))
            curve = Curve(
                int(named[2]),
                {i: data[f"images{i}"] for i in at},
                {i: (float(data[f"seconds{i}"][0]), float(data[f"seconds{i}"][1])) for i in at},
                int(data["threads"]) if "threads" in data.files else THREADS,
                int(data["width"]) if "width" in data.files else WIDTH,
                "warm" in data.files,
            )
        found.setdefault(int(named[1]), []).append(curve)
    return {ipc: sorted(curves, key=lambda c: c.seed) for ipc, curves in sorted(found.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a MedMNIST file, or a phantom such as phantom:breast")
    parser.add_argument("out", type=Path)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=PUBLISHED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--width", type=int, default=WIDTH)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    x, y = training_images(given.source)
    dc(x, y, ipc=1, iterations=1, width=given.width)  # PyTorch loads its optimizers at first use, not on our clock
    path = given.out / f"{images.stem(given.source)}-ipc{given.ipc}-seed{given.seed}.npz"
    draw(x, y, path, ipc=given.ipc, iterations=given.iterations, seed=given.seed, width=given.width)


def draw(x: torch.Tensor, y: torch.Tensor, path: Path, *, ipc: int, iterations: int, seed: int, width: int) -> None:
    """The curve of one seed, into a file; goes on where the file ends.

    Raises:
        SystemExit: the file holds a run with another width or number of threads.
    """
    kept: dict[str, np.ndarray] = {
        "threads": np.array(torch.get_num_threads()),
        "width": np.array(width),
        "warm": np.array(True),
    }
    since, before = None, np.zeros(2)
    if path.is_file():
        with np.load(path) as data:
            found = {name: data[name] for name in data.files}
        if "state" not in found or any(found.get(name) != value for name, value in kept.items()):
            raise SystemExit(f"{path}: a run that cannot be gone on with (other threads or width?); move it away")
        kept, before = found, found["before"]
        since = State(int(found["state"]), *(torch.from_numpy(found[name]) for name in ("now", "velocity", "random")))
    wall, cpu, writing = time.perf_counter(), time.process_time(), np.zeros(2)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, **kept)  # type: ignore[arg-type]

    def keep(state: State) -> None:
        i = state.iteration
        marked = i in MARKS or i == iterations
        if not marked and i % EVERY:
            return
        clocks = np.array([time.perf_counter() - wall, time.process_time() - cpu])
        seconds = before + clocks - writing
        kept.update(state=np.array(i), now=state.images.numpy(), velocity=state.velocity.numpy())
        kept.update(random=state.random.numpy(), before=seconds)
        if marked:
            kept[f"images{i}"], kept[f"seconds{i}"] = state.images.numpy(), seconds
        write_atomic(path, write)
        if marked:
            print(path.name, i, seconds, flush=True)
        writing[:] += np.array([time.perf_counter() - wall, time.process_time() - cpu]) - clocks

    dc(x, y, ipc=ipc, iterations=iterations, seed=seed, width=width, on_iteration=keep, since=since)


if __name__ == "__main__":
    main()
