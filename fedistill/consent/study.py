"""A study as two sides agree on it: every setting written out, as one canonical text and its SHA-256.

The text has all that decides what sites are asked for and what becomes of it: schemes with each setting of each budget,
seeds, networks, the sites, the versions of FeDistill and of its presets. It leaves out what the coordinator's machine
alone is concerned with (deadlines, threads), where data lie, and words of simulations (who holds what, scanners, the
policies of a federation's file): a hospital has its own data and its own rules.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedistill import __version__
from fedistill.config.federation import Federation
from fedistill.config.find import find, read_toml
from fedistill.config.literals import literals
from fedistill.config.load import load_plan
from fedistill.config.scheme import scheme_named
from fedistill.config.simulation import Simulation
from fedistill.data import parse_source
from fedistill.errors import PlanError
from fedistill.methods.presets import fingerprint
from fedistill.privacy.policy.rules import Policy

FORMAT = 1
LATER = ("evaluation_epsilon",)
"""Settings that came later: left out of the text where they are None, so that a study without them keeps its HASH."""
LONGEST = 1 << 20
"""Characters of a canonical text that are read."""
NOT_OF_THE_STUDY = frozenset({"federation", "deadline_s", "silence_s", "threads", "gpus", "audit", "epsilon"})
"""Settings that decide nothing that a site is asked for; an epsilon is written into each scheme that takes it."""
ANYTHING = Policy(allow_real_images=True, allow_weights=True, start="real", allow_soft_labels=True)
"""Rules of a study read from its text: a site's own rules are looked at where it agrees, and where it answers."""


def load_study(name: str, *, changes: Iterable[str] = (), phantom: bool = False) -> Simulation:
    """Load a study from its file, with everything written out, the same on every machine.

    Args:
        name: of a simulation, or a path to its file.
        changes: ``key=value``, as ``--set`` takes them.
        phantom: put every data set's phantom in its place.

    Raises:
        PlanError: no such file, something in it cannot be, or it is no study that sites can agree to.
    """
    changes = list(changes)
    content = {**read_toml(find("simulations", name)), **literals(changes)}
    if content.get("precision", "auto") == "auto":
        changes.append("precision=float32")  # what "auto" stands for differs between machines
    plan = load_plan(name, changes=changes, phantom=phantom)
    if plan.sweep:
        raise PlanError(
            f"{name} sweeps over {', '.join(plan.sweep)}: sites agree to one study, not to several.",
            mend="take its [sweep] away (--set sweep={}), and agree to each study apart",
        )
    return written_out(plan.first)


def written_out(simulation: Simulation) -> Simulation:
    """Return a simulation whose schemes have every setting written out, presets, labels and epsilon included."""
    scheme = {
        name: scheme_named(name).written_out(simulation.settings(name), budgets=simulation.budgets(name))
        for name in simulation.scheme
    }
    return simulation.model_copy(update={"scheme": scheme, "epsilon": None})


def data_names(federation: Federation) -> list[str]:
    """Return the names of a federation's data sets without folders: each side has files where it likes."""
    return [Path(parse_source(word).name).name for word in federation.datasets()]


def canonical(simulation: Simulation) -> str:
    """Return the canonical text of a study: JSON, ASCII, keys sorted, no spaces.

    Args:
        simulation: written out; see `load_study`.
    """
    federation = simulation.federation
    left_out = NOT_OF_THE_STUDY | {name for name in LATER if getattr(simulation, name) is None}
    content: dict[str, Any] = {
        "format": FORMAT,
        "fedistill": __version__,
        "presets": fingerprint(),
        "sites": list(federation.sites),
        "data": data_names(federation),
        "size": federation.size,
        "study": simulation.model_dump(mode="json", exclude=set(left_out)),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(text: str) -> str:
    """Return a study's HASH: the SHA-256, in hex, of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()


def study_of(text: str) -> Simulation:
    """Return the study of a canonical text, for a site to work out what is asked of it.

    Its federation names the sites and no data: these are the site's own.

    Raises:
        PlanError: the text is none, or of another version of FeDistill or of its presets.
    """
    content = read_canonical(text)
    here = {"format": FORMAT, "fedistill": __version__, "presets": fingerprint()}
    for name, value in here.items():
        if content.get(name) != value:
            raise PlanError(
                f"The study was agreed to under another version ({name}).",
                expected=value,
                found=content.get(name),
                mend="agree to it again, with the version that is installed now",
            )
    try:
        federation = Federation(
            name="study", dataset=content["data"][0], size=content["size"], sites=content["sites"], policy=ANYTHING
        )
        whole = {**content["study"], "federation": federation.model_dump(mode="json")}
        return Simulation.model_validate_json(json.dumps(whole), strict=False)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PlanError("This is no study.", found=str(error)[:500]) from error


def read_canonical(text: str) -> dict[str, Any]:
    """Return the content of a canonical text, which somebody else may have written.

    Raises:
        PlanError: it is no canonical text.
    """
    try:
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters")
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        return content
    except (ValueError, RecursionError) as error:
        raise PlanError("This is no canonical study.", expected="the JSON that `agree` keeps", found=error) from error


def differences(ours: str, theirs: str) -> list[str]:
    """Return, a line each, the settings in which two studies differ, by their dotted keys.

    Args:
        ours: canonical text of the side that compares.
        theirs: of the other.

    >>> one, other = '{"study":{"width":32,"ipc":[1]}}', '{"study":{"width":64,"ipc":[1],"seed":3}}'
    >>> differences(one, other)
    ['seed: not given here, 3 there', 'width: 32 here, 64 there']
    """
    here, there = (dict(_flat(read_canonical(text))) for text in (ours, theirs))
    lines = []
    for key in sorted({*here, *there}):
        if here.get(key, _NONE) != there.get(key, _NONE):
            lines.append(f"{key.removeprefix('study.')}: {_shown(here, key)} here, {_shown(there, key)} there")
    return lines


_NONE = object()


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key])[:100] if key in flat else "not given"
