"""Progress as data: the one type of everything that a run, or a site, says while it works.

Whoever works emits an `Event`; on its way to the driver it gets its job, site and time; the driver appends it to
events.jsonl; the progress display, `fedistill status`, the time left and the report's curves read its fields. The
``message`` is for people: nothing reads it.
"""

import math
import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal, get_args

Kind = Literal[
    "planned",
    "note",
    "started",
    "waiting",
    "distilling",
    "experts",
    "early networks",
    "validation",
    "noise",
    "query",
    "warning",
    "training",
    "cross-validation",
    "scoring",
    "proximity",
    "proximity warning",
    "scored",
    "done",
    "failed",
    "cancelled",
    "started again",
    "machine",
    "damaged file",
    "asked",
    "refused",
    "answered",
]

KINDS: frozenset[str] = frozenset(get_args(Kind))

INCIDENTS: frozenset[Kind] = frozenset({"cancelled", "started again", "machine", "damaged file"})
"""Kinds that tell of something that went wrong and was mended."""

ALWAYS: frozenset[Kind] = frozenset({"done", "failed", "noise", "query", "warning", "asked", "refused", "answered"})
"""Kinds that no throttle holds back."""


@dataclass(frozen=True)
class Event:
    """An event of a run.

    Args:
        kind: what happened; see `Kind`.
        time: seconds since 1970; point: label of the point of a sweep; job: name of the job, the same in plan.json.
        site: whose job it is; empty for the server's own work.
        message: for people, in addition to what the other fields say.
        method, ipc, seed, partition: what is distilled, or private, and its repeat and redraw.
        step, steps: how many are done, of how many; seconds: what these took, or the whole job at its end.
        loss, validation_auc: of a distillation's step, the AUC in 0..1.
        expert, epoch: whose loss it is, counted from 1.
        sigma: standard deviation of noise in multiples of the clipping norm; signal_to_noise: of a noisy answer.
        bytes: of the Release that a job made.
        run: Flower's id of the run that asks; only in the log of a deployed site.
        plan: of plan.json; only in ``planned``, and not written to files.
    """

    kind: Kind
    _: KW_ONLY
    time: float | None = None
    point: str = ""
    job: str = ""
    site: str = ""
    message: str = ""
    method: str = ""
    ipc: int | None = None
    seed: int | None = None
    partition: int | None = None
    step: int | None = None
    steps: int | None = None
    seconds: float | None = None
    loss: float | None = None
    validation_auc: float | None = None
    expert: int | None = None
    epoch: int | None = None
    sigma: float | None = None
    signal_to_noise: float | None = None
    bytes: int | None = None
    run: int | None = None
    plan: Mapping[str, Any] | None = None

    @property
    def stage(self) -> str:
        """Return in words what is going on.

        >>> Event("distilling", method="dc", ipc=10).stage, Event("noise", method="dpsgd").stage
        ('dc ipc 10', 'dpsgd noise')
        """
        if self.kind != "distilling":
            return f"{self.method} {self.kind}".strip()
        return self.method if self.ipc is None else f"{self.method} ipc {self.ipc}"

    @property
    def title(self) -> str:
        """Return the job's name without the site's, beside which it is shown.

        >>> Event("done", job="north dc seed 0", site="north").title
        'dc seed 0'
        """
        return self.job.removeprefix(f"{self.site} ") if self.site else self.job

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are set and finite, without the plan.

        >>> Event("distilling", job="a dc seed 0", step=3, loss=math.nan).as_json()
        {'kind': 'distilling', 'job': 'a dc seed 0', 'step': 3}
        """
        values = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in values.items() if value not in (None, "") and _is_finite(value)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Event":
        """Return the event that `as_json` has written; fields that this version does not know are left out.

        Raises:
            ValueError: no such kind, or a field holds what it cannot.

        >>> Event.from_json({"kind": "done", "seconds": 2.0, "colour": "red"}).seconds
        2.0
        >>> Event.from_json({"kind": "done", "seconds": "2.0"})
        Traceback (most recent call last):
        ValueError: seconds is '2.0'
        """
        kind = values.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"no kind of event is called {kind!r:.80}")
        known = {name: value for name, value in values.items() if name in NAMES and value is not None}
        for name, value in known.items():
            if not _fits(name, value):
                raise ValueError(f"{name} is {value!r:.80}")
        return cls(**known)


NAMES = tuple(field.name for field in fields(Event) if field.name not in ("_", "plan"))
"""Fields that are written to files, in this order."""

_WORDS = frozenset({"kind", "point", "job", "site", "message", "method"})
_COUNTS = frozenset({"ipc", "seed", "partition", "step", "steps", "expert", "epoch", "bytes", "run"})
_LARGEST = 1e11
"""Above every time in seconds since 1970 that a calendar of people has."""

OnEvent = Callable[[Event], None]
"""Takes each event as it happens."""


def ignore(event: Event) -> None:
    """Do nothing with an event."""


def now(kind: Kind, **values: Any) -> Event:
    """Return an event of this moment."""
    return Event(kind, time=clocks.time(), **values)


def _fits(name: str, value: Any) -> bool:
    if name in _WORDS:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int if name in _COUNTS else int | float):
        return False
    if name in ("time", "seconds"):
        return math.isfinite(value) and 0 <= value < _LARGEST
    return name not in _COUNTS or value >= 0 if isinstance(value, int) else math.isfinite(value)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
