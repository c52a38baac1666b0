"""A site that makes a Release of its own images: distil, encode, check against its own policy, keep."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fedistill.distill import METHODS, Method, Task, in_memory, privacy_statement, provenance, settings_for, steady
from fedistill.distill.release import Packed, Release, pack, require_encoding, unpack
from fedistill.federation.here import Here
from fedistill.federation.messages import Outcome
from fedistill.plan import Job
from fedistill.privacy.policy import check_release, check_request
from fedistill.store import KeptCheckpoints, Store, key_of


def carry_out(job: Job, site: Here, on_event: Callable[[dict[str, Any]], None]) -> Outcome:
    """One job: distil, pack, check against the site's own policy, keep.

    Raises:
        PolicyError: the site's policy forbids it.
    """
    method = METHODS[job.scheme]
    policy = site.federation.policy
    check_request(policy, scheme=job.scheme, real=method.real)  # before any data are touched
    require_encoding(job.encoding)
    share = site.share(job.partition)
    train = share.train
    chosen = {ipc: settings_for(job.scheme, job.settings, ipc=ipc, dataset=train.name) for ipc in job.budgets}
    for each in chosen.values():
        check_request(policy, scheme=job.scheme, real=method.real, start=getattr(each, "start", None))
    waiting = {"stage": "waiting", "message": "another job makes what this one needs"}
    store = Store(site.store.root, on_wait=lambda: on_event(waiting))
    task = Task(
        train,
        None,
        seed=job.random_seed,
        draws=job.draws,
        model=job.model,
        width=job.width,
        val=share.val if len(share.val) else None,
        precision=job.precision,
        device=site.device,
        entropy=site.entropy,
        on_event=on_event,
        remember=in_memory(store.remember),
    )
    done = {ipc: _budget(job, replace(task, ipc=ipc), store) for ipc in job.budgets}
    sets = {ipc: packed for ipc, (packed, _, _) in done.items()}
    answer = Release(
        site=job.site,
        scheme=job.scheme,
        seed=job.seed,
        partition=job.partition,
        real=method.real,
        sets=sets,
        provenance=provenance(
            job.scheme,
            {str(ipc): asdict(each) for ipc, each in chosen.items()},
            model=job.model,
            width=job.width,
            precision=job.precision,
            images=train,
        ),
        privacy=privacy_statement(
            job.scheme, list(chosen.values()), groups=train.groups is not None, entropy=site.entropy
        ),
    )
    check_release(policy, answer)
    data = answer.to_bytes()
    seconds = tuple(taken for _, taken, _ in done.values())
    on_event({"stage": "done", "final": True, "seconds": sum(seconds), "message": f"{len(data) / 1e3:,.0f} kB"})
    found = sum(kept for _, _, kept in done.values())
    return Outcome(job.name, site.name, release=data, seconds=seconds, examples=len(train), found=found)


def _budget(job: Job, task: Task, store: Store) -> tuple[Packed, float, bool]:
    """One budget of a job, from the store where it was computed before: (images, seconds it took, whether found).

    Kept are the images in full precision; they are encoded as the job asks only afterwards, so that another encoding
    takes no distillation. Real images are not kept a second time: to draw them again takes no time.
    """
    method = METHODS[job.scheme]
    chosen = settings_for(job.scheme, job.settings, ipc=task.ipc, dataset=task.images.name)
    version = [method.version, steady.VERSION]
    key = key_of({"method": job.scheme, "version": version, "settings": asdict(chosen), **task.detail()})
    if method.real:
        start = time.perf_counter()
        made = method.run(task, chosen)
        return pack(made, real=True), time.perf_counter() - start, False
    found = store.get("synthetic", key)
    if found is None:
        # Another job may be at it, such as one of a sweep that asks for another encoding or for more budgets.
        with store.making("synthetic", key):
            found = store.get("synthetic", key)
            if found is None:
                exact, seconds = _distilled(task, method, chosen, store, key)
                return _encoded(exact, job, task.ipc), seconds, False
    tensors, note = found
    return _encoded(Packed(**tensors), job, task.ipc), float(note["seconds"]), True


def _distilled(task: Task, method: Method, settings: Any, store: Store, key: str) -> tuple[Packed, float]:
    """One budget's images in full precision, and the seconds they took: computed, and kept."""
    checkpoints = KeptCheckpoints(store)
    start = time.perf_counter()
    made = method.run(replace(task, checkpoints=checkpoints), settings)
    seconds = made.seconds_before + time.perf_counter() - start
    exact = pack(made, real=False, encoding="float32")
    store.put("synthetic", key, exact.tensors(), {"seconds": seconds})
    checkpoints.drop()
    return exact, seconds


def _encoded(exact: Packed, job: Job, ipc: int | None) -> Packed:
    """Images as the store keeps them, encoded as the job asks."""
    return pack(unpack(exact, ipc), real=False, encoding=job.encoding)
