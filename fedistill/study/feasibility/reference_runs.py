"""Reference runs of a prediction: other data sets, measured in runs of one kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme import scheme_names
from fedistill.data import describe, parse_source, to_phantom
from fedistill.data.facts import FACTS
from fedistill.errors import RunFolderError, SettingError, nearest
from fedistill.study.feasibility.comparability import Kind, canonical_name
from fedistill.study.feasibility.run_metrics import Measured, distils, finished_runs, points, read_runs

NEEDED = 5
"""Fewest other data sets for a prediction."""

Sets = dict[tuple[str, str, str], list[str]]
"""Data sets by kind of runs, scheme and its settings."""


@dataclass(frozen=True, eq=False)
class Basis:
    """The reference runs of a prediction.

    Args:
        dataset: whose quality is predicted; not among the reference sets.
        kind: of the runs.
        points: of `fedistill.study.feasibility.run_metrics.points`, for the schemes with enough sets.
        simulation: of random subsets of ``dataset``, with the partition and recipe of the runs.
        notes: for people, on runs that were skipped or not used.
    """

    dataset: str
    ipc: int
    kind: Kind
    points: pd.DataFrame
    simulation: Simulation
    notes: tuple[str, ...]


def find_basis(
    dataset: str,
    *,
    ipc: int,
    sources: Sequence[Path] | None = None,
    method: str | None = None,
    federation: str | None = None,
    phantom: bool = False,
) -> Basis:
    """Find the reference runs for a prediction, without training or download.

    Of several kinds of runs, the one with the most sets is used, and of equals the first.

    Args:
        dataset: a name or a path to an .npz.
        ipc: images per class that each site would share.
        sources: run folders, or names of folders in ``runs``; default every finished one there.
        method: the scheme to predict; default every one that has enough sets.
        federation: the name of the federation that the runs are of, where they are of several.
        phantom: put the data set's phantom in its place.

    Raises:
        SettingError: fewer than five other sets of one kind, no such scheme, or no run of this federation.
        DataError: there is no such data set.
        RunFolderError: a named source holds no finished run.
    """
    if method is not None and (method not in scheme_names() or not distils(method)):
        known = [name for name in scheme_names() if distils(name)]
        raise SettingError(f"{method!r} is not a scheme that distils.", mend=nearest(method, known))
    name = canonical_name(to_phantom(dataset) if phantom else dataset)
    card = describe(name)
    notes: list[str] = []
    measured = _of_federation(federation, _read_sources(sources, notes))
    every_point = points(measured)
    candidates = every_point[
        (every_point["phantom"] == parse_source(name).drawn)
        & (every_point["ipc"] == ipc)
        & (every_point["dataset"] != name)
    ]
    if parse_source(name).one_size:  # its pixels cannot be chosen
        same_size = {each.kind.words for each in measured if (each.kind.size,) == card.on_disk}
        candidates = candidates[candidates["kind"].isin(same_size)]
    if method is not None:
        candidates = candidates[candidates["scheme"] == method]
    sets = _sets(candidates)
    if max(map(len, sets.values()), default=0) < NEEDED:
        raise _too_few_sets(name, ipc, method, sets, every_point, measured)
    words = max(sets, key=lambda group: len(sets[group]))[0]
    others = dict.fromkeys(kind for (kind, *_), names in sets.items() if len(names) >= NEEDED and kind != words)
    notes += [f"Enough sets as well, not used: {kind}; choose with --federation or --from." for kind in others]
    chosen: dict[str, str] = {}  # where a scheme was run with several settings, those that most sets have
    for scheme in dict.fromkeys(scheme for kind, scheme, _ in sets if kind == words):
        kind, _, settings = max((g for g in sets if g[:2] == (words, scheme)), key=lambda group: len(sets[group]))
        if len(sets[kind, scheme, settings]) >= NEEDED:
            chosen[scheme] = settings
        else:
            notes.append(f"{scheme} is not predicted: {len(sets[kind, scheme, settings])} sets, {NEEDED} are needed.")
    basis_points = candidates[
        (candidates["kind"] == words) & (candidates["settings"] == candidates["scheme"].map(chosen))
    ]
    used = [each for each in measured if each.kind.words == words and each.dataset in set(basis_points["dataset"])]
    return Basis(
        dataset=name,
        ipc=ipc,
        kind=used[0].kind,
        points=basis_points.reset_index(drop=True),
        simulation=_random_alone(name, ipc, used),
        notes=tuple(notes),
    )


def short(dataset: str) -> str:
    """Return a data set's label for people.

    >>> short("phantom:blood"), short("bloodmnist"), short("/data/ours.npz")
    ('blood', 'blood', 'ours')
    """
    return parse_source(dataset).short


def _read_sources(sources: Sequence[Path] | None, notes: list[str]) -> list[Measured]:
    if sources is None:
        return read_runs(finished_runs(Path("runs")), notes=notes)
    folders = [path if path.exists() else Path("runs") / path for path in sources]
    lost = [str(path) for path, folder in zip(sources, folders, strict=True) if not folder.is_dir()]
    if lost:
        raise RunFolderError("There is no such run folder.", expected="a folder, or a name in runs/", found=lost[0])
    return read_runs(dict.fromkeys(folder.resolve() for folder in folders))


def _of_federation(name: str | None, measured: list[Measured]) -> list[Measured]:
    """Return the measurements of the federation of this name; all of them if it is None."""
    if name is None:
        return measured
    known = dict.fromkeys(each.simulation.federation.name for each in measured)
    if name not in known:
        mend = nearest(name, known) if known else "run a simulation first, or name its folder with --from"
        raise SettingError(f"There is no run of a federation {name[:80]!r}.", mend=mend)
    return [each for each in measured if each.simulation.federation.name == name]


def _sets(points: pd.DataFrame) -> Sets:
    """Return the data sets of each group, in the order of the points; every set has an AUC."""
    sets: Sets = {}
    for line in points[points["metric"] == "auc"].to_dict("records"):
        sets.setdefault((line["kind"], line["scheme"], line["settings"]), []).append(line["dataset"])
    return sets


def _random_alone(name: str, ipc: int, used: Sequence[Measured]) -> Simulation:
    """Return a simulation of random subsets with the most repeats of these runs, for this machine."""
    import torch

    used = [each for each in used if "random" in each.simulation.scheme]
    like = used[0].simulation
    federation = like.federation.model_copy(update={"dataset": name, "site": {}})
    repeats = ("seeds", "networks", "partitions")
    words = re.sub(r"[^\w.-]+", "-", parse_source(name).slug)
    return like.model_copy(
        update={
            "name": f"predict-{words.strip('-.')[:40]}-ipc{ipc}",
            "federation": federation,
            "scheme": {"random": {}},
            "ipc": (ipc,),
            "models": (used[0].kind.model,),
            "recipes": ("common",),
            "recipe": like.recipe.model_copy(update={"strong": None}),
            "leave_out": (),
            "audit": None,
            "min_sites": None,
            "gpus": like.gpus if torch.cuda.is_available() else 0.0,
            **{what: max(getattr(each.simulation, what) for each in used) for what in repeats},
        }
    )


def _too_few_sets(
    name: str, ipc: int, method: str | None, sets: Sets, every_point: pd.DataFrame, measured: Sequence[Measured]
) -> SettingError:
    """Return the error for too few sets: the sets available, the number missing, and the command to run."""
    is_phantom = parse_source(name).drawn
    sort, other = ("phantoms", "real data sets") if is_phantom else ("real data sets", "phantoms")
    largest = sorted(sets.items(), key=lambda group: -len(group[1]))
    available = [
        f"{len(names)} ({', '.join(map(short, names))}) by {scheme} in runs on {kind}"
        for (kind, scheme, _), names in largest[:3]
    ]
    if len(largest) > 3:
        available.append(f"{len(largest) - 3} smaller groups")
    if not available:
        available.append("none of them" if measured else "no finished run")
    other_sort = list(dict.fromkeys(every_point.loc[every_point["phantom"] != is_phantom, "dataset"]))
    if other_sort:
        available.append(
            f"{len(other_sort)} {other} ({', '.join(map(short, other_sort))}), which cannot predict {sort}"
        )
    budgets = sorted(set(every_point.loc[every_point["phantom"] == is_phantom, "ipc"]) - {ipc})
    if budgets:
        available.append(f"other budgets, which cannot be used: ipc {', '.join(map(str, budgets))}")
    by = f"by {method}" if method else "by one method"
    return SettingError(
        f"Too few data sets are measured to predict {name} at ipc {ipc}.",
        expected=f"at least {NEEDED} other {sort}, measured with random subsets and {by} in runs of one kind",
        found="; ".join(available),
        mend=_suggest_runs(name, *(largest[0] if largest else (("", "", ""), [])), measured),
    )


def _suggest_runs(name: str, group: tuple[str, str, str], sets: Sequence[str], measured: Sequence[Measured]) -> str:
    """Return the runs that would complete the largest group."""
    is_phantom = parse_source(name).drawn
    words = f"{NEEDED - len(sets)} more of one kind are missing: "
    words += f"`fedistill run per-dataset{' --phantom' * is_phantom}` measures all"
    known = [card.phantom if is_phantom else card.name for card in FACTS.values()]
    absent = [each for each in known if each not in (*sets, name)]
    alike = [each.folder for each in measured if each.kind.words == group[0] and not each.swept]
    if alike and absent:
        words += f", or for one: `fedistill run {alike[0]}/simulation.toml --set federation.dataset={absent[0]} "
        words += f"--out {alike[0]}-{short(absent[0])}`"
    return words
