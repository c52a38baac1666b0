"""Commands that take something out of a study: the pool, a network, and predictions for new images."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedistill.cli import options
from fedistill.cli.as_json import Json, print_json
from fedistill.cli.data import progress_bar

Point = Annotated[int, typer.Option(help="Of a sweep, the number of the point.", min=0)]
Partition = Annotated[int, typer.Option(help="The redraw of who holds what.", min=0)]


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN|RELEASE", help="A run folder, or a Release file.")],
    to: Annotated[str, typer.Option(help="npz, png, parquet, torch or safetensors.")],
    out: Annotated[Path, typer.Option(help="The file or folder to write.")],
    scheme: Annotated[str | None, typer.Option(help="Of a run: dc, dm, ...")] = None,
    ipc: Annotated[int | None, typer.Option(help="Images per class and site.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The repeat.", min=0)] = 0,
    site: Annotated[str | None, typer.Option(help="This site's Release alone. Default: the whole pool.")] = None,
    partition: Partition = 0,
    point: Point = 0,
) -> None:
    """Write a pool of synthetic images, or one site's, for other programs, with a card that says what it is."""
    from fedistill.export.pool.select import select_pool
    from fedistill.export.pool.write import write_pool

    pool = select_pool(source, scheme=scheme, ipc=ipc, seed=seed, site=site, partition=partition, point=point)
    written = write_pool(pool, out, to)
    options.console.print(f"{escape(pool.card['what'])}, made by {escape(', '.join(pool.card['made by']))}")
    options.console.print("written: " + ", ".join(map(options.short, written)), soft_wrap=True)


def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    scheme: Annotated[str, typer.Option(help="dc, fedavg, ...")],
    out: Annotated[Path, typer.Option(help="The model file to write: a path that ends in .safetensors.")],
    ipc: Annotated[int | None, typer.Option(help="Images per class and site.", min=1)] = None,
    rounds: Annotated[int | None, typer.Option(help="Of schemes with rounds.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The repeat.", min=0)] = 0,
    network: Annotated[
        int | None, typer.Option(help="Its number in results.csv. Default: all, whose predictions are averaged.", min=0)
    ] = None,
    site: Annotated[str | None, typer.Option(help="Of schemes whose sites have networks of their own.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: the run's first.")] = None,
    recipe: Annotated[str | None, typer.Option(help="common or native. Default: the run's first.")] = None,
    partition: Partition = 0,
    left_out: Annotated[str, typer.Option(help="The pool without this site.")] = "",
    point: Point = 0,
    cache: Annotated[Path | None, typer.Option(help="The store that the run shared with others, if it did.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write ONNX, beside it.")] = False,
) -> None:
    """Write the networks of a line of a run's table to a file, with a model card. Trains nothing anew."""
    from fedistill.core.files import require_new_file, write_atomic
    from fedistill.errors import SettingError
    from fedistill.export.network.collect import Line, card_text, collect_networks

    beside = [out, out.with_suffix(".card.md"), *([out.with_suffix(".onnx")] if onnx else [])]
    if out.suffix != ".safetensors":
        raise SettingError(f"{out} does not end in .safetensors.", expected="such a path", found=out.name)
    for path in beside:
        if os.path.lexists(path):
            raise SettingError(f"{path} exists.", mend="choose another --out; existing files are never overwritten")
        require_new_file(path, "--out")
    line = Line(scheme, ipc, rounds, seed, network, site, model, recipe, partition, left_out, point)
    content = collect_networks(run, line, cache=cache)
    contents: list[bytes | str] = [content.to_bytes(), card_text(content)]
    words = ""
    if onnx:
        from fedistill.export.network.onnx_file import to_onnx

        data, worst = to_onnx(content)
        contents.append(data)
        checked = "not compared, for onnxruntime is not installed" if worst is None else f"at most {worst:.1g} apart"
        words = f"; ONNX and PyTorch: {checked}"
    for path, each in zip(beside, contents, strict=True):
        write_atomic(path, each)
    options.console.print(escape(f"{content.card['what']}{words}"), soft_wrap=True)
    options.console.print("written: " + ", ".join(map(options.short, beside)), soft_wrap=True)


def apply(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILES|FOLDER|FILE.npz|DATASET", help="Images; or one data set.")
    ],
    out: Annotated[Path, typer.Option(help="The table of predictions, CSV.")],
    split: Annotated[str, typer.Option(help="Of a data set.")] = "test",
    threads: Annotated[int, typer.Option(min=1, help="Threads that read files.")] = 1,
    data_root: options.DataRoot = None,
    as_json: Json = False,
) -> None:
    """Predict new images: files through the same preprocessing as the training data, or a data set with its scores."""
    from fedistill.core.files import require_new_file, write_atomic
    from fedistill.data import parse_source
    from fedistill.errors import SettingError
    from fedistill.export.network.model import Model
    from fedistill.export.network.predictions import apply_to_dataset, apply_to_files, mean_scores
    from fedistill.study.folder.tables_on_disk import csv_text

    if os.path.lexists(out):
        raise SettingError(f"{out} exists.", mend="choose another --out; existing files are never overwritten")
    require_new_file(out, "--out")
    loaded = Model.load(model)
    there = [Path(word).exists() for word in inputs]
    if len(inputs) == 1 and (inputs[0].endswith(".npz") or (not there[0] and parse_source(inputs[0]).known)):
        predictions = apply_to_dataset(loaded, inputs[0], split=split, data_root=options.text(data_root))
    else:
        with progress_bar() as on_progress:
            predictions = apply_to_files(
                loaded, [Path(word) for word in inputs], threads=threads, on_progress=on_progress
            )
    write_atomic(out, csv_text(predictions.table))
    scores = mean_scores(predictions) if predictions.scores else {}
    if as_json:
        about = {"images": len(predictions.table), "unreadable": predictions.unreadable, "out": str(out)}
        print_json({**about, "mean over networks": scores, "of their averaged predictions": predictions.averaged})
        return
    options.console.print(f"{len(predictions.table) - len(predictions.unreadable):,} images predicted")
    for name, why in predictions.unreadable[:5]:
        options.console.print(f"[yellow]not read:[/] {escape(name)}: {escape(why)}", soft_wrap=True)
    if len(predictions.unreadable) > 5:
        options.console.print(f"and {len(predictions.unreadable) - 5} more, named in the table")
    if scores:
        for title, of in (("mean over networks", scores), ("of their averaged predictions", predictions.averaged)):
            words = ", ".join(f"{metric} {100 * value:.4f}" for metric, value in of.items())
            options.console.print(f"{title}, in %: {words}", soft_wrap=True)
    options.console.print(f"written: {options.short(out)}", soft_wrap=True)


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    for command in (export, train, apply):
        cli.command()(command)
