"""How long an import takes, and how much memory: ``PYTHONPATH=tests python -m benchmarks.importing FOLDER [FILES]``.

Makes FILES (10,000) PNGs of 512 x 512 in FOLDER, noise over soft shapes as a scan has it, unless they are there; then
imports them by one thread and says seconds, of the clock and of the processor, and the peak of memory.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fedistill.importing.run_import import import_images
from fedistill.importing.settings import ImportSettings

SIZE, BASES = 512, 20


def make(folder: Path, files: int) -> None:
    """Write the PNGs into two classes' folders; no two are alike."""
    rng = np.random.default_rng(0)
    bases = []
    for _ in range(BASES):
        soft = Image.fromarray(rng.integers(30, 200, size=(24, 24)).astype(np.uint8)).resize((SIZE, SIZE))
        bases.append((np.asarray(soft) + rng.integers(-4, 5, size=(SIZE, SIZE))).clip(0, 255).astype(np.uint8))
    for number in range(files):
        image = bases[number % BASES].copy()
        for _ in range(2):
            top, left = rng.integers(SIZE - 180, size=2)
            image[top : top + 180, left : left + 180] //= 2
        path = folder / ("even", "odd")[number % 2] / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)


def main(folder: Path, files: int = 10_000) -> None:
    """Make what is missing, import it, and print the figures."""
    if not folder.exists():
        make(folder, files)
    with tempfile.TemporaryDirectory() as place:
        clock, processor = time.perf_counter(), time.process_time()
        [card] = import_images(folder, Path(place) / "x.npz", ImportSettings(salt=Path(place) / "salt", threads=1))
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{card.images:,} images: {clock:.1f} s, {processor:.1f} s of the processor, peak {peak:.0f} MiB")
    for warning in card.warnings:
        print(warning)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
