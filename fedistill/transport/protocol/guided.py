"""Messages of rounds of images: a job that is one round of several, and the network that guides it.

The reply is that of any job, one `Outcome`. Only simulations send these messages: no study has such items.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from fedistill.config.jobs import MOST_IPC, Job, read_job
from fedistill.core.text import printable
from fedistill.errors import SettingError
from fedistill.transport.protocol.messages import tensors_of
from fedistill.transport.protocol.training_messages import arrays_of

GUIDED = "query.guided"


@dataclass(frozen=True)
class RoundJob(Job):
    """A job for one round's images.

    Args:
        whole_ipc: the budget that all rounds together have.
        rounds: how many there are.
        number: of this one, from 1.
    """

    whole_ipc: int = 1
    rounds: int = 1
    number: int = 1

    @property
    def name(self) -> str:
        """For people and for progress: ``north tdm-rounds ipc 10 seed 0 round 2``."""
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.site} {self.scheme} ipc {self.whole_ipc} seed {self.seed}{redraw} round {self.number}"


@dataclass(frozen=True, eq=False)
class GuidedRequest:
    """A request for one round's images.

    Args:
        job: the round.
        params: of the network that guides it, by name, not yet checked; empty in the first round, which none guides.
    """

    job: RoundJob
    params: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        """Return the name of the scheme."""
        return self.job.scheme


def pack_guided(request: GuidedRequest) -> RecordDict:
    """Pack a request for one round's images."""
    records: dict[str, Any] = {
        "job": ConfigRecord({"name": request.job.name}),
        "request": ConfigRecord({"round": json.dumps(asdict(request.job))}),
    }
    return RecordDict({**records, **({"network": arrays_of(request.params)} if request.params else {})})


def unpack_guided(content: RecordDict) -> GuidedRequest:
    """Read a request that somebody else wrote.

    Raises:
        SettingError: it is none, or a value in it cannot be.
    """
    try:
        about = json.loads(str(content.config_records["request"]["round"]))
        own = {name: about.pop(name) for name in ("whole_ipc", "rounds", "number")}
    except (KeyError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise SettingError("The request has no job of a round.", expected="one as JSON") from error
    job = read_job(about)
    if any(type(value) is not int or not 1 <= value <= MOST_IPC for value in own.values()):
        raise SettingError("Invalid round in a job of the request.", found=printable(repr(own), most=80))
    if own["number"] > own["rounds"]:
        raise SettingError("There is no such round.", expected=f"1 to {own['rounds']}", found=own["number"])
    arrays = content.array_records.get("network")
    plain = {each.name: getattr(job, each.name) for each in fields(job)}
    return GuidedRequest(RoundJob(**plain, **own), {} if arrays is None else tensors_of(arrays))
