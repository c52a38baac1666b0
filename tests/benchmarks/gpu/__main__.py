"""`make bench-gpu`: FeDistill on a GPU against textbook loops in turn, under six minutes (PyTorch and NumPy alone).

OUT/gpu.json and a table. With --cpu-check nothing is timed: the forms that a GPU takes are computed tiny on this
processor, graphs replaced by their bodies and kernels by their formulas, and compared with the readable forms.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import work
from benchmarks.gpu.ceilings import ceilings
from benchmarks.gpu.check import CLOSEST, compared
from benchmarks.gpu.work import Site, Sizes

PRECISIONS = ("tf32", "bfloat16")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        title, unit: what is timed, and what `factor` makes of seconds.
        flops: of a unit, of convolutions and matrix products.
        plain, ours: seconds of each unit, the first of which pays for what is done once.
    """

    title: str
    unit: str
    factor: float
    flops: float
    plain: Callable[[Site], list[float]]
    ours: Callable[[Site], list[float]]


def main() -> int:
    given = _arguments()
    if given.cpu_check:
        return _compared(torch.device("cpu"))
    if not torch.cuda.is_available():
        print("No GPU that PyTorch can use: nothing is timed. --cpu-check compares the forms on this processor.")
        return 2
    return _measured(given.out, Sizes())


def _compared(device: torch.device) -> int:
    """Print how far each part is from the readable form; 1 where one is too far, or gives other bits a second time."""
    found = compared(device)
    for name, part in found.items():
        far = "" if part.away < CLOSEST else ", TOO FAR"
        print(f"{name:22} {part.away:.1e}{far}, {'the same bits again' if part.again else 'OTHER BITS AGAIN'}")
    return 0 if all(part.fine for part in found.values()) else 1


def _measured(out: Path, sizes: Sizes) -> int:
    start, device = time.monotonic(), torch.device("cuda")
    out.mkdir(parents=True, exist_ok=True)
    images = work.noise(sizes)
    sites = {precision: Site(images, sizes, device, precision) for precision in PRECISIONS}
    results: dict[str, Any] = {
        "card": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "conditions": {"images": sizes.images, "classes": sizes.classes, "width": sizes.width, "ipc": sizes.ipc},
        "memory": {},
        "rows": {},
    }

    def keep() -> None:
        results["seconds"] = round(time.monotonic() - start, 1)
        (out / "gpu.json").write_text(json.dumps(results, indent=1))

    # Memory first: what other parts leave behind in PyTorch's cache would be counted with it.
    for unroll in sizes.unroll:
        results["memory"][f"MTT, {unroll} steps"] = {
            "plain": _peak(lambda u=unroll: work.plain_mtt_iterations(sites["tf32"], u, 1)),
            "FeDistill": _peak(lambda u=unroll: work.mtt_iterations(sites["tf32"], u, 1)),
        }
    results["ceilings"] = ceilings(device)
    print(json.dumps({"memory": results["memory"], "ceilings": results["ceilings"]}, indent=1), flush=True)
    keep()
    x, y = images.pixels().to(device), images.targets().to(device)
    for row in _rows(sizes, x, y):
        found = {"plain": row.plain(sites["tf32"])}
        for precision, site in sites.items():
            found[precision] = row.ours(site)
        results["rows"][row.title] = {"unit": row.unit, "flops": row.flops, "seconds": found}
        print(_line(row, found), flush=True)
        keep()
    print(f"\n{markdown(results)}\n")
    return _compared(device)


def _rows(sizes: Sizes, x: torch.Tensor, y: torch.Tensor) -> list[Row]:
    n = sizes.ipc * sizes.classes
    forward = _forward_flops(sizes)
    step = 3 * forward - _first_layer(sizes)  # no gradient in the images
    real = sizes.classes * sizes.batch_real * step
    # In the images too, and that differentiated once more: twice the passes.
    second = 2 * 3 * forward * n
    inner = (sizes.outer - 1) * sizes.inner * n * step
    epoch = -(-sizes.images // sizes.batch_expert) * sizes.batch_expert * step
    rows = [
        Row(
            "DC iteration, ipc 10, published schedule",
            "s",
            1,
            sizes.outer * (real + second) + inner,
            lambda site: work.plain_dc_iterations(site, x, y, 3),
            lambda site: work.dc_iterations(site, 4).seconds,
        ),
        *[
            Row(
                f"SGD step on {b} images",
                "ms",
                1e3,
                b * step,
                lambda site, b=b: work.plain_steps(site, b, 30),
                lambda site, b=b: work.steps(site, b, 100).seconds,
            )
            for b in (n, sizes.batch_expert)
        ],
        Row(
            f"real gradients, {sizes.classes} classes x {sizes.batch_real}",
            "ms",
            1e3,
            real,
            lambda site: work.plain_real_gradients(site, 5),
            lambda site: work.real_gradients(site, 10).seconds,
        ),
        Row(
            "MTT expert's epoch, not augmented",
            "s",
            1,
            epoch,
            lambda site: work.plain_expert(site, x, y),
            lambda site: work.expert(site, 3, augmented=False).seconds,
        ),
        Row(
            "the same, augmented",
            "s",
            1,
            epoch,
            lambda site: [],
            lambda site: work.expert(site, 3, augmented=True).seconds,
        ),
        Row(
            f"evaluation network, {sizes.fit_steps} steps on {n} images",
            "s",
            1,
            sizes.fit_steps * n * step,
            work.plain_evaluation,
            lambda site: [s for _ in range(2) for s in work.evaluation(site).seconds],
        ),
        *[
            Row(
                f"MTT iteration, {unroll} steps",
                "s",
                1,
                unroll * (n * step + second),
                lambda site, u=unroll: work.plain_mtt_iterations(site, u, 4),
                lambda site, u=unroll: work.mtt_iterations(site, u, 4).seconds,
            )
            for unroll in sizes.unroll
        ],
        Row(
            "DM iteration",
            "ms",
            1e3,
            sizes.classes * sizes.batch_real * forward + 3 * n * forward,
            lambda site: [],
            lambda site: work.dm_iterations(site, 12).seconds,
        ),
    ]
    return rows


def _first_layer(sizes: Sizes) -> float:
    return 2 * 9 * 3 * sizes.width * (sizes.side + 4) ** 2


def _forward_flops(sizes: Sizes) -> float:
    """Of one image through ConvNet-D3 with 28 pixels padded to 32."""
    side, total = sizes.side + 4, _first_layer(sizes)
    for _ in range(2):
        side //= 2
        total += 2 * 9 * sizes.width**2 * side**2
    return total + 2 * sizes.width * (side // 2) ** 2 * sizes.classes


def _peak(run: Callable[[], object]) -> float:
    """GB that PyTorch reserves at the peak for this work, the graphs' memory included."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    run()
    return round((torch.cuda.max_memory_reserved() - before) / 1e9, 2)


def usual(seconds: list[float]) -> float | None:
    """The median without the first, which pays for what is done once.

    >>> usual([9.0, 1.0, 2.0, 1.5]), usual([])
    (1.5, None)
    """
    return statistics.median(seconds[1:] or seconds) if seconds else None


def _line(row: Row, found: dict[str, list[float]]) -> str:
    parts = []
    for side, seconds in found.items():
        value = usual(seconds)
        if value is not None:
            parts.append(f"{side} {value * row.factor:.4g} {row.unit} (first {seconds[0]:.2f} s)")
    return f"{row.title}: {', '.join(parts)}"


def markdown(results: dict[str, Any]) -> str:
    """The table."""
    ceiling = results["ceilings"]["3 x 3 convolution"]
    lines = [
        f"{results['card']}, PyTorch {results['torch']}; TFLOP/s in brackets; a 3 x 3 convolution of 128 channels does "
        + ", ".join(f"{rate:.0f} in {precision}" for precision, rate in ceiling.items())
        + "; a matrix product "
        + ", ".join(f"{rate:.0f} in {p}" for p, rate in results["ceilings"]["matrix product"].items()),
        "",
        f"| | plain | {' | '.join(PRECISIONS)} | times |",
        "|---|---|---|---|---|",
    ]
    for title, row in results["rows"].items():
        factor = 1e3 if row["unit"] == "ms" else 1
        cells, values = [], []
        for side in ("plain", *PRECISIONS):
            value = usual(row["seconds"][side])
            values.append(value)
            rate = "" if value is None else f" ({row['flops'] / value / 1e12:.0f})"
            cells.append("-" if value is None else f"{value * factor:.3g} {row['unit']}{rate}")
        plain, ours = values[:2]
        cells.append("-" if plain is None or ours is None else f"{plain / ours:.1f}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for title, peaks in results["memory"].items():
        lines.append(f"| {title}, peak GB | {peaks['plain']} | {peaks['FeDistill']} | | |")
    lines.append(f"\nIn all {results['seconds']:.0f} s.")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--cpu-check", action="store_true", help="compare the forms on this processor; no card needed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
