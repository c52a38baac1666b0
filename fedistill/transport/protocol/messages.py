"""Messages between server and sites, as Flower records: jobs and outcomes, scoring requests and counts.

Nothing here names a file, and nothing is ever unpickled. A job, its settings included, travels as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from fedistill.config.jobs import Job, read_job
from fedistill.core.text import printable
from fedistill.errors import SettingError
from fedistill.privacy.policy.noisy_scores import ScoreNoise
from fedistill.training.metrics import Tally
from fedistill.transport.protocol.claims import require_counts

RELEASE = "query.release"
WHO = "query.who"
SCORE = "evaluate.score"

MOST_JOBS = 10_000
"""In one request."""

LONGEST_TEXT = 1 << 16
"""Characters of a traceback that are kept."""

LONGEST_LINE = 1000
"""Characters of an error that are kept."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job.

    Args:
        job: its name.
        site: who answered.
        release: the Release file's bytes; None where there is none.
        seconds: time each budget took when it was computed, whenever that was, in the order of the job's budgets.
        examples: real images it was made of, which a server may weight it by.
        found: how many of the budgets came from the site's store.
        refused: the rule of the site's policy that forbids it.
        error: one readable line; trace: the whole traceback.
        waits: why it may not leave the site yet; empty where nothing holds it back.
    """

    job: str
    site: str
    release: bytes | None = None
    seconds: tuple[float, ...] = ()
    examples: int = 0
    found: int = 0
    refused: str = ""
    error: str = ""
    trace: str = ""
    waits: str = ""


_KINDS: dict[str, type] = {
    "job": str,
    "site": str,
    "release": bytes,
    "seconds": list,
    "examples": int,
    "found": int,
    "refused": str,
    "error": str,
    "trace": str,
    "waits": str,
}


def pack_jobs(jobs: Sequence[Job]) -> RecordDict:
    """Pack a request: one job per message in a simulation, all of a site's jobs in a deployment."""
    name = jobs[0].name if len(jobs) == 1 else f"{jobs[0].site} {len(jobs)} jobs"
    text = json.dumps([asdict(job) for job in jobs])
    return RecordDict({"job": ConfigRecord({"name": name}), "request": ConfigRecord({"jobs": text})})


def unpack_jobs(content: RecordDict) -> list[Job]:
    """Read the jobs of a request.

    Raises:
        SettingError: it lists none, or one of them cannot be; see `fedistill.config.jobs.read_job`.
    """
    try:
        listed = json.loads(str(content.config_records["request"]["jobs"]))
    except (KeyError, ValueError, RecursionError) as error:
        raise SettingError("The request lists no jobs.", expected="a list of them as JSON") from error
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_JOBS:
        raise SettingError("The request lists no jobs.", expected=f"1 to {MOST_JOBS} of them")
    return [read_job(each) for each in listed]


def pack_outcomes(outcomes: Sequence[Outcome]) -> RecordDict:
    """Pack a reply: one outcome per job, so that one failure spoils no other."""
    records = RecordDict()
    for i, outcome in enumerate(outcomes):
        values = {**asdict(outcome), "release": outcome.release or b"", "seconds": list(outcome.seconds)}
        if not outcome.waits:
            del values["waits"]
        records[f"outcome-{i}"] = ConfigRecord(values)
    return records


def unpack_outcomes(content: RecordDict) -> list[Outcome]:
    """Unpack the outcomes of a reply.

    Values of the wrong type raise TypeError or KeyError, other invalid ones ValueError.
    """
    outcomes = []
    for name in sorted(content.config_records, key=lambda n: int(n.removeprefix("outcome-"))):
        values: dict[str, Any] = {"waits": "", **content.config_records[name]}
        for key, wanted in _KINDS.items():
            if not isinstance(values[key], wanted):
                raise TypeError(f"{key} of {name} is {type(values[key]).__name__}, not {wanted.__name__}")
            if wanted is str:
                # Names are compared with those that were asked for, and go no further where they differ.
                values[key] = _SHOWN.get(key, _bounded)(values[key])
        for taken in (0.0, *values["seconds"]):
            require_counts(taken, values["examples"])
        if not 0 <= values["found"] <= len(values["seconds"]):
            raise ValueError(f"{name} says that {values['found']} of {len(values['seconds'])} budgets were there")
        values |= {"release": values["release"] or None, "seconds": tuple(float(s) for s in values["seconds"])}
        outcomes.append(Outcome(**values))
    return outcomes


def shown_line(text: object) -> str:
    r"""Return a site's words as they may be printed, logged and written: one line of printable characters.

    >>> shown_line("no\x1b[2J such\nfile")
    'no\ufffd[2J such file'
    """
    return printable(text, most=LONGEST_LINE)


def shown_trace(text: str) -> str:
    """Return a site's traceback as it may be written: lines of printable characters, indented as they were."""
    lines = _bounded(text).split("\n")
    return "\n".join(" " * (len(line) - len(line.lstrip(" "))) + shown_line(line) for line in lines)


def _bounded(text: str) -> str:
    kept = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ..."
    return kept.encode(errors="replace").decode()


_SHOWN = {"refused": shown_line, "waits": shown_line, "error": shown_line, "trace": shown_trace}


@dataclass(frozen=True)
class EvalRequest:
    """A request to score networks on a site's own images.

    Args:
        name: for people and progress.
        model, width: the networks' shape.
        partition: the redraw whose share is asked about.
        params: their parameters by name, each stacked with a leading axis over the networks.
        split: ``val``, its validation images, or ``held_out``, those set aside before anything was made of them.
        members: networks that give one prediction together, the mean of theirs; those next to each other.
        noise: what a deployed site adds to its counts; None in a simulation, whose counts are exact. Never sent.
    """

    name: str
    model: str
    width: int
    partition: int
    params: Mapping[str, Tensor] = field(repr=False)
    split: str = "val"
    members: int = 1
    noise: ScoreNoise | None = None


def pack_question(question: EvalRequest) -> RecordDict:
    """Pack a request to score networks."""
    arrays = ArrayRecord({name: Array(value.numpy()) for name, value in question.params.items()})
    about: dict[str, Any] = {
        name: getattr(question, name) for name in ("model", "width", "partition", "split", "members")
    }
    return RecordDict(
        {"job": ConfigRecord({"name": question.name}), "request": ConfigRecord(about), "networks": arrays}
    )


def unpack_question(content: RecordDict) -> EvalRequest:
    """Unpack a request to score networks."""
    about = content.config_records["request"]
    arrays = content.array_records["networks"]
    return EvalRequest(
        name=str(content.config_records["job"]["name"]),
        model=str(about["model"]),
        width=int(str(about["width"])),
        partition=int(str(about["partition"])),
        split=str(about["split"]),
        members=int(str(about["members"])),
        params=tensors_of(arrays),
    )


def tensors_of(arrays: ArrayRecord) -> dict[str, Tensor]:
    """Return the arrays of a record by name, not yet held against any network."""
    # A copy: what arrives in a message may be read-only memory, which PyTorch warns of.
    return {name: torch.from_numpy(value.numpy().copy()) for name, value in arrays.items()}


_PARTS = ("concordant", "pairs", "correct", "count")


def pack_tallies(site: str, tallies: Sequence[Tally]) -> RecordDict:
    """Pack a reply of counts, one tally a network."""
    values: dict[str, Any] = {"site": site, "networks": len(tallies)}
    for part in _PARTS:
        values[part] = [float(v) for tally in tallies for v in getattr(tally, part)]
    return RecordDict({"tallies": ConfigRecord(values)})


def unpack_tallies(content: RecordDict) -> list[Tally]:
    """Unpack the tallies of a reply."""
    values = content.config_records["tallies"]
    networks = int(str(values["networks"]))
    parts = {part: np.asarray(values[part], dtype=np.float64).reshape(networks, -1) for part in _PARTS}
    return [Tally(**{part: parts[part][i] for part in _PARTS}) for i in range(networks)]
