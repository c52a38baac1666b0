"""Message sizes that one network of one scheme and budget takes, or would take, on the wire.

A simulation asks for several budgets and draws in one message, and for several networks; shared in earnest, one of each
is enough. So the message with just that is made, encoded, and counted.
"""

from dataclasses import replace

from flwr.app import Message, RecordDict

from fedistill.config import Job
from fedistill.release.release import Release
from fedistill.transport.protocol.guided import GUIDED, GuidedRequest, pack_guided
from fedistill.transport.protocol.messages import RELEASE, Outcome, pack_jobs, pack_outcomes
from fedistill.transport.protocol.named import pack_named
from fedistill.transport.protocol.traffic import encoded_size
from fedistill.transport.protocol.training_messages import (
    ALONE,
    LocalTrainReply,
    LocalTrainRequest,
    one_network,
    pack_alone,
)

TO_SOMEBODY = 1
"""A node's address: any takes as much as another."""


def release_sizes(job: Job, release: Release, ipc: int | None, *, study: str = "") -> tuple[int, int]:
    """Return bytes (up, down) of one budget and one draw of a job, which a deployed site is asked for by name."""
    single = replace(job, ipcs=() if ipc is None else (ipc,), draws=1)
    data = release.only(ipc, draw=0).to_bytes()
    reply = pack_outcomes([Outcome(single.name, job.site, release=data, seconds=(0.0,))])
    return _size(reply, RELEASE), _size(pack_named(study, [job.name]) if study else pack_jobs([single]), RELEASE)


def guided_sizes(request: GuidedRequest, release: Release) -> tuple[int, int]:
    """Return bytes (up, down) of one round's images, and of the request for them with the network in it."""
    job = request.job
    reply = pack_outcomes([Outcome(job.name, job.site, release=release.to_bytes(), seconds=(0.0,))])
    return _size(reply, GUIDED), _size(pack_guided(request), GUIDED)


def network_sizes(request: LocalTrainRequest, learned: LocalTrainReply) -> tuple[int, int]:
    """Bytes (up, down) of one network that a site trained to its end."""
    single = replace(request, seeds=request.seeds[:1])
    return _size(one_network(learned, request.site), ALONE), request_size(single)


def request_size(request: LocalTrainRequest) -> int:
    """Bytes of a request to train, with all the Releases in it."""
    return _size(pack_alone(request), ALONE)


def _size(content: RecordDict, kind: str) -> int:
    return encoded_size(Message(content, TO_SOMEBODY, kind))
