"""Messages between server and sites, as Flower records: jobs and outcomes, scoring requests and counts.

Nothing here names a file, and nothing is ever unpickled. A job, its settings included, travels as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from pydantic import AfterValidator, Field, NonNegativeInt
from torch import Tensor

from fedistill.config.jobs import MOST_WIDTH, Job, read_job
from fedistill.core.ranges import AS_TUPLE, QUIET, Count, detail, known
from fedistill.core.text import printable
from fedistill.errors import SettingError
from fedistill.privacy.policy.noisy_scores import ScoreNoise
from fedistill.training.metrics import Tally
from fedistill.transport.protocol.codec import (
    Examples,
    Seconds,
    arrays_of,
    from_record,
    from_text,
    head,
    tensors_of,
    to_record,
)

RELEASE = "query.release"
WHO = "query.who"
SCORE = "evaluate.score"

MOST_JOBS = 10_000
"""In one request."""

LONGEST_TEXT = 1 << 16
"""Characters of a traceback that are kept."""

LONGEST_LINE = 1000
"""Characters of an error that are kept."""


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


ShownLine = Annotated[str, AfterValidator(shown_line)]
Floats = Annotated[tuple[float, ...], AS_TUPLE]


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

    job: Annotated[str, AfterValidator(_bounded)]
    site: Annotated[str, AfterValidator(_bounded)]
    release: Annotated[bytes, AfterValidator(lambda data: data or None)] | None = None
    seconds: Annotated[tuple[Seconds, ...], AS_TUPLE] = ()
    examples: Examples = 0
    found: int = 0
    refused: ShownLine = ""
    error: ShownLine = ""
    trace: Annotated[str, AfterValidator(shown_trace)] = ""
    waits: Annotated[ShownLine, QUIET] = ""


def pack_jobs(jobs: Sequence[Job]) -> RecordDict:
    """Pack a request: one job per message in a simulation, all of a site's jobs in a deployment."""
    name = jobs[0].name if len(jobs) == 1 else f"{jobs[0].site} {len(jobs)} jobs"
    text = json.dumps([detail(job) for job in jobs])
    return RecordDict({**head(name), "request": ConfigRecord({"jobs": text})})


def unpack_jobs(content: RecordDict) -> list[Job]:
    """Read the jobs of a request.

    Raises:
        SettingError: it lists none, or one of them cannot be; see `fedistill.config.jobs.read_job`.
    """
    listed = from_text(content, "jobs", "The request")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_JOBS:
        raise SettingError("The request lists no jobs.", expected=f"1 to {MOST_JOBS} of them")
    return [read_job(each) for each in listed]


def pack_outcomes(outcomes: Sequence[Outcome]) -> RecordDict:
    """Pack a reply: one outcome per job, so that one failure spoils no other."""
    records = RecordDict()
    for i, outcome in enumerate(outcomes):
        records[f"outcome-{i}"] = to_record(replace(outcome, release=outcome.release or b""))
    return records


def unpack_outcomes(content: RecordDict) -> list[Outcome]:
    """Unpack the outcomes of a reply.

    Raises:
        ValueError: one of them cannot be.
    """
    outcomes = []
    for name in sorted(content.config_records, key=lambda n: int(n.removeprefix("outcome-"))):
        outcome = from_record(Outcome, content.config_records[name], name)
        if not 0 <= outcome.found <= len(outcome.seconds):
            raise ValueError(f"{name} says that {outcome.found} of {len(outcome.seconds)} budgets were there")
        outcomes.append(outcome)
    return outcomes


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
    width: Annotated[int, Field(ge=1, le=MOST_WIDTH)]
    partition: NonNegativeInt
    params: Mapping[str, Tensor] = field(repr=False)
    split: Annotated[str, known("split", ("val", "held_out"))] = "val"
    members: Count = 1
    noise: ScoreNoise | None = None


def pack_question(question: EvalRequest) -> RecordDict:
    """Pack a request to score networks."""
    about = to_record(question, without=("name", "params", "noise"))
    return RecordDict({**head(question.name), "request": about, "networks": arrays_of(question.params)})


def unpack_question(content: RecordDict) -> EvalRequest:
    """Unpack a request to score networks.

    Raises:
        SettingError: a value in it cannot be.
    """
    beside = {"name": content.config_records["job"]["name"], "params": tensors_of(content.array_records["networks"])}
    return from_record(EvalRequest, content.config_records["request"], "the request", **beside)


@dataclass(frozen=True)
class _Counts:
    """Tallies as they travel: those of one network after those of another."""

    site: str
    networks: Count
    concordant: Floats
    pairs: Floats
    correct: Floats
    count: Floats


_PARTS = ("concordant", "pairs", "correct", "count")


def pack_tallies(site: str, tallies: Sequence[Tally]) -> RecordDict:
    """Pack a reply of counts, one tally a network."""
    parts = {part: tuple(float(v) for tally in tallies for v in getattr(tally, part)) for part in _PARTS}
    return RecordDict({"tallies": to_record(_Counts(site, len(tallies), **parts))})


def unpack_tallies(content: RecordDict) -> list[Tally]:
    """Unpack the tallies of a reply.

    Raises:
        ValueError: they cannot be.
    """
    counts = from_record(_Counts, content.config_records["tallies"], "the tallies")
    parts = {part: np.asarray(getattr(counts, part)).reshape(counts.networks, -1) for part in _PARTS}
    return [Tally(**{part: parts[part][i] for part in _PARTS}) for i in range(counts.networks)]
