"""Progress of a run, from its plan and its events: what is done, running and left, and about how long it takes yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedistill.core.events import Event
from fedistill.report.format import duration


@dataclass(frozen=True)
class Estimate:
    """An estimate of the time still needed.

    Args:
        seconds: of the work whose speed is known; None where none is.
        unknown: schemes none of whose jobs is done, which come on top.
    """

    seconds: float | None
    unknown: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Return it in words.

        >>> Estimate(700.0).words, Estimate(700.0, ("mtt",)).words
        ('about 12 min left', '12 min left and mtt, of which nothing is known yet')
        """
        if self.seconds is None:
            return ""
        if not self.unknown:
            return f"about {duration(self.seconds)} left"
        return f"{duration(self.seconds)} left and {', '.join(self.unknown)}, of which nothing is known yet"


@dataclass
class RunningJob:
    """A job on its way.

    Args:
        started: when, in seconds since 1970.
        stage, step, steps, seconds: as its last event says.
    """

    started: float
    stage: str = ""
    step: int = 0
    steps: int = 0
    seconds: float = 0.0


class RunProgress:
    """A run's progress: it takes in every event.

    Args:
        plan: of plan.json; see `fedistill.study.orchestrator.plan_record`.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.name = str(plan["name"])
        self.jobs: dict[tuple[str, str], str] = {}
        self.arms: dict[tuple[str, str], str] = {}
        for point in plan["points"]:
            self.jobs |= {(point["point"], name): scheme for name, scheme in point["jobs"].items()}
            self.arms |= {(point["point"], name): scheme for name, scheme in point["arms"].items()}
        self.seconds: dict[tuple[str, str], float] = {}
        """Seconds that each finished job took, whenever that was."""
        self.scored: set[tuple[str, str]] = set()
        self.failed: dict[str, str] = {}
        self.running: dict[tuple[str, str], RunningJob] = {}
        self.most = 1
        """Jobs that ran at one time."""
        self._other: dict[str, float] = {}

    def add(self, event: Event) -> None:
        """Take in one event, from the run itself or from events.jsonl."""
        where = (event.point, event.job)
        if event.kind == "planned":
            self.running.clear()  # another attempt began: what ran before was stopped
        elif event.kind == "scored":
            self.scored.add(where)
        elif event.kind == "failed":
            self.running.pop(where, None)
            self.failed[event.job] = event.message
        elif where in self.jobs:
            self._of_job(where, event)
        elif event.job and event.seconds:
            self._other[event.job] = max(self._other.get(event.job, 0.0), event.seconds)

    def _of_job(self, where: tuple[str, str], event: Event) -> None:
        if event.kind == "done":
            self.running.pop(where, None)
            self.seconds[where] = event.seconds or 0.0
            return
        doing = self.running.setdefault(where, RunningJob(event.time or 0.0))
        doing.stage = event.stage
        doing.step, doing.steps, doing.seconds = event.step or 0, event.steps or 0, event.seconds or 0.0
        self.most = max(self.most, len(self.running))

    def left(self) -> dict[tuple[str, str], str]:
        """Return jobs that are neither done nor under way, with their schemes.

        Points of a sweep do what they have in common once: a job whose results are there is none of them.
        """
        failed = set(self.failed)
        done = {(point, self.arms[(point, arm)]) for point, arm in self.scored if (point, arm) in self.arms}
        return {
            where: scheme
            for where, scheme in self.jobs.items()
            if where not in self.seconds
            and where not in self.running
            and where[1] not in failed
            and not ((where[0], scheme) in done and where[0])
        }

    def estimate(self, now: float) -> Estimate:
        """Return how long it still takes, by what such jobs took so far.

        Args:
            now: seconds since 1970.
        """
        if not self.seconds and not self.scored:
            return Estimate(None)
        took: dict[str, list[float]] = {}
        for where, seconds in self.seconds.items():
            took.setdefault(self.jobs[where], []).append(seconds)
        means = {scheme: sum(values) / len(values) for scheme, values in took.items()}
        unknown, total = set(), 0.0
        for scheme in self.left().values():
            if scheme in means:
                total += means[scheme]
            else:
                unknown.add(scheme)
        longest = 0.0
        for where, doing in self.running.items():
            scheme = self.jobs[where]
            rest = doing.seconds / doing.step * (doing.steps - doing.step) if doing.step and doing.seconds else 0.0
            if scheme in means:
                rest = max(rest, means[scheme] - (now - doing.started))
            else:
                unknown.add(scheme)
            longest = max(longest, rest)
            total += rest
        if self.scored:
            total += sum(self._other.values()) / len(self.scored) * (len(self.arms) - len(self.scored))
        order = list(dict.fromkeys(self.jobs.values()))
        return Estimate(max(longest, total / self.most), tuple(sorted(unknown, key=order.index)))

    def by_scheme(self) -> dict[str, tuple[int, int, int, int]]:
        """Return for each scheme that makes Releases its jobs done, running, left and failed."""
        left, rows = self.left(), {}
        for scheme in dict.fromkeys(self.jobs.values()):
            own = {where for where, each in self.jobs.items() if each == scheme}
            failed = sum(job in self.failed for _, job in own)
            running = sum(where in self.running for where in own)
            waiting = sum(where in left for where in own)
            rows[scheme] = (len(own) - running - waiting - failed, running, waiting, failed)
        return rows

    @property
    def line(self) -> str:
        """Return how many jobs and results are done, of how many, in words."""
        counts = self.by_scheme().values()
        done = sum(each[0] for each in counts)
        return f"{done}/{len(self.jobs)} jobs, {len(self.scored)}/{len(self.arms)} results"
