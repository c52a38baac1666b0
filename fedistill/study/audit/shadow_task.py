"""A shadow as a job of the server: a module-level function of plain values, because it runs on Ray's workers."""

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fedistill.data import ImageSet
from fedistill.methods import Task
from fedistill.methods.engine.method import in_memory
from fedistill.privacy.attacks.shadows import Signals, signals
from fedistill.schemes.server.shadows import Attacked, ShadowMaker
from fedistill.training.device import device_for
from fedistill.transport.backend.events import emitter


def run_shadow(
    name: str,
    number: int,
    seed: int,
    maker: ShadowMaker,
    task: Mapping[str, Any],
    attacked: Attacked,
    others: Any,
    gpus: float,
) -> tuple[dict[str, Tensor], float]:
    """Make one shadow, and return its signals as tensors and the seconds it took.

    Args:
        name: in its events.
        number: of the shadow.
        seed: of the shadow.
        maker: trains the shadow.
        task: arguments of its `Task`.
        attacked: the data of the audit.
        others: the other sites' contribution.
        gpus: share of a GPU.

    Raises:
        RunError: a network diverged.
        ReleaseError: images are not finite.
    """
    start = time.perf_counter()
    of_shadow = Task(
        attacked.dealing.shadow(attacked.images, number),
        seed=seed,
        val=attacked.val if len(attacked.val) else None,
        device=str(device_for(gpus)),
        on_event=emitter(name),
        remember=in_memory(),
        **task,
    )
    records = attacked.dealing.records(attacked.images)
    read = shadow(of_shadow, maker, others, records, attacked.population)
    return read.tensors(), time.perf_counter() - start


def shadow(task: Task, maker: ShadowMaker, others: Any, records: ImageSet, population: ImageSet) -> Signals:
    """Make one shadow, and return the signals that an attacker reads from it.

    ``task`` has the shadow's images and seed; ``records`` are under attack, with the labels that members have.
    """
    sent = maker.make(task, others)
    return signals(
        sent.release, sent.networks, maker.network, records, population, received=sent.received, real=sent.real
    )
