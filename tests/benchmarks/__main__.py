"""`make bench`: FeDistill against plain textbook versions, in turn; OUT/benchmarks.json, OUT/benchmarks.md, a table.

Parts: `steps` (seconds per step), `memory` (peak of MTT's iteration), `quality` (time to the same quality; it needs the
plain loop's curves, which `python -m benchmarks.curve` makes). A part that is run again takes its former place.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import images, measure
from benchmarks.cases import QUICK, Sizes
from benchmarks.conditions import conditions
from benchmarks.plot import draw
from benchmarks.quality import quality
from benchmarks.scores import RECIPE
from benchmarks.tables import markdown, show
from fedistill.core.files import write_atomic
from fedistill.data.sources.medmnist import find_data_root

PARTS = ("steps", "memory", "quality")
MEMORY_REPEATS = 3  # peaks hardly vary


def main() -> None:
    given = _arguments()
    console = Console()
    sizes = QUICK if given.quick else Sizes()
    if given.width is not None:
        sizes = replace(sizes, width=given.width)
    repeats = given.repeats or (2 if given.quick else 7)
    sources = [images.at_hand(name, given.data_root) for name in given.sets]
    # A rehearsal's numbers are never laid beside real ones.
    path = given.out / ("rehearsal.json" if given.quick else "benchmarks.json")
    results: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def say(line: str) -> None:
        console.print(line, style="dim", markup=False, highlight=False)

    def under(times: int) -> dict[str, Any]:
        return conditions(threads=given.threads, width=sizes.width, repeats=times, quick=given.quick)

    def keep(part: str, source: str, about: dict[str, Any], found: dict[str, Any]) -> None:
        results.setdefault(part, {})[source] = {"conditions": about, "found": found}
        write_atomic(path, json.dumps(results, indent=1))
        write_atomic(path.with_suffix(".md"), markdown(results))

    if "steps" in given.only:
        for source in sources:
            about = under(repeats)
            measure.steps(
                source,
                given.data_root,
                sizes,
                every=source == sources[0],
                threads=given.threads,
                repeats=repeats,
                say=say,
                keep=partial(keep, "steps", source, about),
            )
    if "memory" in given.only:
        times = 1 if given.quick else MEMORY_REPEATS
        about = under(times)
        # Synthetic images alone are trained on, so one image set says it for all of its shape.
        found = measure.memory(sources[0], given.data_root, sizes, threads=given.threads, repeats=times, say=say)
        keep("memory", sources[0], about, found)
    if "quality" in given.only:
        work = given.out / ("rehearsal" if given.quick else "quality")
        for source in sources:
            about = under(given.networks)
            found = quality(
                source,
                given.data_root,
                curves=given.curves or given.out / "curves",
                out=work,
                networks=2 if given.quick else given.networks,
                processes=given.threads,
                settings={"iterations": 2} if given.quick else None,
                recipe=replace(RECIPE, epochs=3) if given.quick else RECIPE,
                say=say,
            )
            if found:
                keep("quality", source, about, found)
            else:
                say(f"{source}: no quality without the plain loop's curves. {_how(source, given)}")
        if "quality" in results:
            draw(results["quality"], work / "time-to-quality.png")
    show(results, console)
    console.print(f"{path} and {path.with_suffix('.md').name}", highlight=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", help="folder of MedMNIST's files; without one there, its phantom is measured on")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--only", type=_listed(PARTS), default=PARTS, help="steps,memory,quality or some of them")
    parser.add_argument(
        "--sets", type=_listed(images.SETS), default=images.SETS, help="image sets, separated by commas"
    )
    parser.add_argument("--curves", type=Path, help="folder of the plain loop's curves, default OUT/curves")
    parser.add_argument("--networks", type=int, default=10, help="trained on each set of images, for quality")
    parser.add_argument("--threads", type=int, default=2, help="of each side; for quality: networks trained at once")
    parser.add_argument("--repeats", type=int, help="of every timing, default 7")
    parser.add_argument("--width", type=int, help="of the ConvNet, default 128; quality takes the curves' own")
    parser.add_argument("--quick", action="store_true", help="a rehearsal at tiny sizes, kept apart")
    return parser.parse_args()


def _listed(known: tuple[str, ...]) -> Any:
    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
        return chosen

    return read


def _how(source: str, given: argparse.Namespace) -> str:
    name = source if source.startswith("phantom:") else find_data_root(given.data_root) / f"{source}.npz"
    folder = given.curves or given.out / "curves"
    return f"Make them (a seed each): PYTHONPATH=tests python -m benchmarks.curve {name} {folder} --ipc 1 --seed 0"


if __name__ == "__main__":
    main()
