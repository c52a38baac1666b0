"""`make worth`: what a method's images are worth, on the thirteen sets of simulations/worth.toml or some of them.

Every set gets random, herded and all images, and each method's; networks are trained on each by one recipe and scored
on validation images, to choose settings by (the six sets named `tuned`), or on the test split, to report. What is kept
in OUT is not made again: the same command resumes. `METHOD@LABEL` names one of several settings of a method:

    make worth ARGS="--methods dm,dm@long --set dm@long.iterations=600 --sets tuned --jobs 2"
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.conditions import conditions
from benchmarks.tables import as_markdown, show_sheets
from benchmarks.worth.figure import draw
from benchmarks.worth.form import BASELINES, Form, Piece, pieces
from benchmarks.worth.report import lines_said, results, sheets
from benchmarks.worth.sets import GROUPS, chosen
from benchmarks.worth.work import Done, Measured, attempt
from fedistill.config.literals import assign
from fedistill.core.files import write_atomic
from fedistill.errors import SettingError, UserError

OPENING = "A method's images against random, herded and all real ones, as one hospital would share them."


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return the exit code: 2 for a mistake in what was typed, 1 if a piece failed."""
    console = Console()
    try:
        given = _arguments(words)
        form, schemes = _form(given), _schemes(given)
        wanted = pieces(chosen(given.sets, given.real), schemes, form)
    except UserError as error:
        console.print(f"error: {error}", markup=False, highlight=False)
        return 2
    measured: dict[Piece, Measured] = {}
    failures: list[tuple[str, str]] = []
    computed = 0
    for done, (piece, each, new, why) in enumerate(_measured(wanted, form, given)):
        computed += new
        if each is None:
            failures.append((piece.name, why))
            console.print(why, markup=False, highlight=False)
        else:
            measured[piece] = each
        words_of = "failed" if each is None else "computed" if new else "found"
        console.print(f"{done + 1} of {len(wanted)}: {piece.name} {words_of}", style="dim", markup=False)
    if measured:
        in_order = {piece: measured[piece] for piece in wanted if piece in measured}
        under = conditions(threads=1, jobs=given.jobs)
        found = results(in_order, schemes, form, under)
        write_atomic(given.out / "worth.json", json.dumps(found, indent=1))
        tables = list(sheets(found))
        write_atomic(given.out / "worth.md", as_markdown("What an image is worth", OPENING, tables))
        draw(found, given.out / "worth.png")
        show_sheets(tables, console)
    console.print(f"{computed} computed, {len(measured) - computed} found; {given.out}", markup=False, highlight=False)
    for line in lines_said(failures):
        console.print(line, markup=False, highlight=False)
    return 1 if failures else 0


def _measured(wanted: Sequence[Piece], form: Form, given: argparse.Namespace) -> Iterator[Done]:
    """Yield every piece as it is done: here, or in processes of one thread each."""
    one = partial(attempt, form=form, folder=given.out / "pieces", root=given.data_root)
    if given.jobs == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map(one, wanted)
        finally:
            torch.set_num_threads(threads)
        return
    # Fork would copy the threads of PyTorch's pool, which do not live on in the copy.
    with ProcessPoolExecutor(given.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(one, piece) for piece in wanted]):
            yield future.result()


def _schemes(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the methods asked for, with their settings; baselines are there anyway."""
    settings: dict[str, Any] = {}
    for change in given.set:
        assign(settings, change)
    schemes = [name for name in given.methods if name not in BASELINES]
    for name in settings:
        if name not in schemes:
            raise SettingError(
                f"--set {name}. is about a method that is not measured.",
                expected=f"one of {', '.join(schemes) or 'none'}",
                mend=f"add it: --methods {','.join([*given.methods, name])}",
            )
    return {name: settings.get(name, {}) for name in schemes}


def _form(given: argparse.Namespace) -> Form:
    form = Form(most=None, scored=None, networks=5, full_steps=4800) if given.full_size else Form()
    if given.split == "test":
        form = replace(form, scored=None, looks=True)
    asked = ("split", "ipc", "networks", "width", "most", "steps", "full_steps", "lr", "seeds")
    form = replace(form, **{name: value for name in asked if (value := getattr(given, name)) is not None})
    form = replace(form, looks=form.looks or given.looks)
    for name in ("ipc", "networks", "width", "most", "steps", "full_steps", "seeds"):
        value = getattr(form, name)
        if value is not None and value < 1:
            raise SettingError(f"--{name.replace('_', '-')} counts.", expected="at least 1", found=value)
    return form


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    groups = "; ".join(f"{name}: {what}" for name, what in GROUPS.items())
    parser.add_argument("--methods", type=_listed, default=[], help="dm,dc,dm@label")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.SETTING=VALUE", help="several times")
    parser.add_argument("--sets", type=_listed, default=["all"], help=f"names or words of data sets; {groups}")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="what networks are scored on")
    parser.add_argument(
        "--looks", action="store_true", help="methods see validation images; with --split test they always do"
    )
    parser.add_argument("--ipc", type=int)
    parser.add_argument("--seeds", type=int, help="distillations by each method, default 1")
    parser.add_argument("--networks", type=int, help="trained on each set of images, default 3, at full size 5")
    parser.add_argument("--width", type=int, help="default 32")
    parser.add_argument("--most", type=int, help="training images of a set, default 2000, at full size all")
    parser.add_argument("--steps", type=int, help="default 300")
    parser.add_argument("--full-steps", type=int, help="on all images, default 1000, at full size 4800")
    parser.add_argument("--lr", type=float, help="default 0.01")
    parser.add_argument("--full-size", action="store_true", help="every image of every set")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--real", type=Path, help="folder of the .npz files; default $FEDISTILL_REAL")
    parser.add_argument("--data-root", help="folder of MedMNIST's files")
    parser.add_argument("--out", type=Path, default=Path("runs/worth-bench"))
    return parser.parse_args(words)


def _listed(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    sys.exit(main())
