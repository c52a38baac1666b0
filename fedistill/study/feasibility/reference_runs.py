"""What a prediction can rest on: other data sets, measured in runs of one kind; else a refusal that says what is
missing.
"""

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
from fedistill.study.feasibility.comparability import Kind, set_named
from fedistill.study.feasibility.run_metrics import Measured, distils, finished_runs, points, read_runs

NEEDED = 5
"""Other data sets that a prediction rests on, at least."""

Sets = dict[tuple[str, str, str], list[str]]
"""Data sets by kind of runs, scheme and its settings."""


@dataclass(frozen=True, eq=False)
class Basis:
    """What a prediction rests on.

    Args:
        dataset: whose quality is to be foretold; not among the sets.
        kind: of the runs.
        points: of `evidence.points`, of the schemes that have enough sets.
        simulation: random subsets of ``dataset``, divided and trained on as these runs did.
        notes: for people: what was passed over, and what else there was.
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
    phantom: bool = False,
) -> Basis:
    """What there is to rest a prediction on. No network is trained, and nothing downloaded.

    Of several kinds of runs the one with the most sets is taken.

    Args:
        dataset: a name or a path to an .npz.
        ipc: images per class that each site would share.
        sources: run folders, or names of folders in ``runs``; default every finished one there.
        method: the scheme to predict; default every one that has enough sets.
        phantom: put the data set's phantom in its place.

    Raises:
        SettingError: fewer than five other sets of one kind, or no such scheme.
        DataError: there is no such data set.
        RunFolderError: a named source holds no finished run.
    """
    if method is not None and (method not in scheme_names() or not distils(method)):
        known = [name for name in scheme_names() if distils(name)]
        raise SettingError(f"{method!r} is no scheme that distils.", mend=nearest(method, known))
    name = set_named(to_phantom(dataset) if phantom else dataset)
    card = describe(name)
    notes: list[str] = []
    measured = _measured(sources, notes)
    found = points(measured)
    wanted = found[(found["phantom"] == parse_source(name).drawn) & (found["ipc"] == ipc) & (found["dataset"] != name)]
    if parse_source(name).one_size:  # its pixels cannot be chosen
        fitting = {each.kind.words for each in measured if (each.kind.size,) == card.on_disk}
        wanted = wanted[wanted["kind"].isin(fitting)]
    if method is not None:
        wanted = wanted[wanted["scheme"] == method]
    sets = _sets(wanted)
    if max(map(len, sets.values()), default=0) < NEEDED:
        raise _refusal(name, ipc, method, sets, found, measured)
    words = max(sets, key=lambda group: len(sets[group]))[0]
    others = dict.fromkeys(kind for (kind, *_), names in sets.items() if len(names) >= NEEDED and kind != words)
    notes += [f"Enough sets as well, not used: {kind}; choose runs with --from." for kind in others]
    chosen: dict[str, str] = {}  # where a scheme was run with several settings, those that most sets have
    for scheme in dict.fromkeys(scheme for kind, scheme, _ in sets if kind == words):
        kind, _, settings = max((g for g in sets if g[:2] == (words, scheme)), key=lambda group: len(sets[group]))
        if len(sets[kind, scheme, settings]) >= NEEDED:
            chosen[scheme] = settings
        else:
            notes.append(f"{scheme} is not predicted: {len(sets[kind, scheme, settings])} sets, {NEEDED} are needed.")
    here = wanted[(wanted["kind"] == words) & (wanted["settings"] == wanted["scheme"].map(chosen))]
    used = [each for each in measured if each.kind.words == words and each.dataset in set(here["dataset"])]
    return Basis(
        dataset=name,
        ipc=ipc,
        kind=used[0].kind,
        points=here.reset_index(drop=True),
        simulation=_random_alone(name, ipc, used),
        notes=tuple(notes),
    )


def short(dataset: str) -> str:
    """A data set's name for people.

    >>> short("phantom:blood"), short("bloodmnist"), short("/data/ours.npz")
    ('blood', 'blood', 'ours')
    """
    return parse_source(dataset).short


def _measured(sources: Sequence[Path] | None, notes: list[str]) -> list[Measured]:
    if sources is None:
        return read_runs(finished_runs(Path("runs")), notes=notes)
    folders = [path if path.exists() else Path("runs") / path for path in sources]
    lost = [str(path) for path, folder in zip(sources, folders, strict=True) if not folder.is_dir()]
    if lost:
        raise RunFolderError("There is no such run folder.", expected="a folder, or a name in runs/", found=lost[0])
    return read_runs(dict.fromkeys(folder.resolve() for folder in folders))


def _sets(points: pd.DataFrame) -> Sets:
    """The data sets of each group, the first found first; every set has an AUC."""
    found: Sets = {}
    for line in points[points["metric"] == "auc"].to_dict("records"):
        found.setdefault((line["kind"], line["scheme"], line["settings"]), []).append(line["dataset"])
    return found


def _random_alone(name: str, ipc: int, used: Sequence[Measured]) -> Simulation:
    """Random subsets of a data set, repeated as often as by any of these runs; on whatever machine this is."""
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
            "leave_out": (),
            "audit": None,
            "min_sites": None,
            "gpus": like.gpus if torch.cuda.is_available() else 0.0,
            **{what: max(getattr(each.simulation, what) for each in used) for what in repeats},
        }
    )


def _refusal(
    name: str, ipc: int, method: str | None, sets: Sets, found: pd.DataFrame, measured: Sequence[Measured]
) -> SettingError:
    """Which sets there are, how many are missing, and what to run."""
    is_phantom = parse_source(name).drawn
    sort, other = ("phantoms", "real data sets") if is_phantom else ("real data sets", "phantoms")
    largest = sorted(sets.items(), key=lambda group: -len(group[1]))
    there = [
        f"{len(names)} ({', '.join(map(short, names))}) by {scheme} in runs on {kind}"
        for (kind, scheme, _), names in largest[:3]
    ]
    if len(largest) > 3:
        there.append(f"{len(largest) - 3} smaller groups")
    if not there:
        there.append("none of them" if measured else "no finished run")
    strangers = list(dict.fromkeys(found.loc[found["phantom"] != is_phantom, "dataset"]))
    if strangers:
        there.append(f"{len(strangers)} {other} ({', '.join(map(short, strangers))}), which do not count for {sort}")
    budgets = sorted(set(found.loc[found["phantom"] == is_phantom, "ipc"]) - {ipc})
    if budgets:
        there.append(f"other budgets, which do not count: ipc {', '.join(map(str, budgets))}")
    by = f"by {method}" if method else "by one method"
    return SettingError(
        f"Too few data sets are measured to predict {name} at ipc {ipc}.",
        expected=f"at least {NEEDED} other {sort}, measured with random subsets and {by} in runs of one kind",
        found="; ".join(there),
        mend=_mend(name, *(largest[0] if largest else (("", "", ""), [])), measured),
    )


def _mend(name: str, group: tuple[str, str, str], sets: Sequence[str], measured: Sequence[Measured]) -> str:
    """What to run, after the largest group and the sets it has."""
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
