"""Messages of rounds of images: a job that is one round of several, and the network that guides it.

The reply is that of any job, one `Outcome`. Only simulations send these messages: no study has such items.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from flwr.app import ConfigRecord, RecordDict
from pydantic import Field
from torch import Tensor

from fedistill.config.jobs import MOST_IPC, Job, read_job
from fedistill.errors import SettingError
from fedistill.transport.protocol.codec import arrays_of, from_text, head, tensors_of, to_text

GUIDED = "query.guided"

RoundNumber = Annotated[int, Field(ge=1, le=MOST_IPC)]


@dataclass(frozen=True)
class RoundJob(Job):
    """A job for one round's images.

    Args:
        whole_ipc: the budget that all rounds together have.
        rounds: how many there are.
        number: of this one, from 1.
    """

    whole_ipc: RoundNumber = 1
    rounds: RoundNumber = 1
    number: RoundNumber = 1

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
    about = {"request": ConfigRecord({"round": to_text(request.job)})}
    network = {"network": arrays_of(request.params)} if request.params else {}
    return RecordDict({**head(request.job.name), **about, **network})


def unpack_guided(content: RecordDict) -> GuidedRequest:
    """Read a request that somebody else wrote.

    Raises:
        SettingError: it is none, or a value in it cannot be.
    """
    job = read_job(from_text(content, "round", "The request"), RoundJob)
    if job.number > job.rounds:
        raise SettingError("There is no such round.", expected=f"1 to {job.rounds}", found=job.number)
    arrays = content.array_records.get("network")
    return GuidedRequest(job, {} if arrays is None else tensors_of(arrays))
