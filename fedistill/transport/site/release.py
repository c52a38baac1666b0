"""A site that makes a Release of its own images: distil, encode, check against its own policy, keep."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from fedistill.config import Job
from fedistill.core.store import KeptCheckpoints, Store, key_of
from fedistill.errors import PolicyError
from fedistill.methods import METHODS, Method, Task, in_memory, privacy_statement, provenance, settings_for
from fedistill.methods.engine import loop as steady
from fedistill.methods.private.queries import PrivateSettings, about_answers, costs_of
from fedistill.methods.registry import is_private
from fedistill.privacy.policy.disclosure import disclosed_count, unit
from fedistill.privacy.policy.floors import method_settings
from fedistill.privacy.policy.release_check import check_release, rules_kept, screened
from fedistill.privacy.policy.rules import PolicyRequest, check_request
from fedistill.release.release import Packed, Release, pack, require_encoding, unpack
from fedistill.transport.protocol.messages import Outcome
from fedistill.transport.site.context import Here
from fedistill.transport.site.deployed_rules import require_own
from fedistill.transport.site.ledger import Answers, account_of


def carry_out(job: Job, site: Here, on_event: Callable[[dict[str, Any]], None]) -> Outcome:
    """One job: distil, pack, check against the site's own policy, keep.

    Raises:
        PolicyError: the site's policy forbids it.
    """
    method, policy = METHODS[job.scheme], site.policy
    require_own(site, job)
    check_request(policy, _asked(job, site))  # before any data are touched
    require_encoding(job.encoding)
    private = is_private(job.scheme)
    share = site.whole(job.partition) if private else site.share(job.partition)
    train = share.train
    if not len(train):
        raise PolicyError(
            f"The site's policy forbids {job.scheme!r}: no class has {policy.least_in_class} {unit(train)}s (rule "
            f"{'min_class_size' if policy.smallest >= policy.smallest_batch else 'smallest_batch'})."
        )
    chosen = {ipc: settings_for(job.scheme, job.settings, ipc=ipc, dataset=train.name) for ipc in job.budgets}
    check_request(policy, _asked(job, site, list(chosen.values()), held_out=bool(len(share.held_out))))
    waiting = {"stage": "waiting", "message": "another job makes what this one needs"}
    store = Store(
        site.store.root,
        on_wait=lambda: on_event(waiting),
        on_damage=lambda words: on_event({"stage": "damaged file", "message": words}),
    )
    account = account_of(job, site, train)
    task = Task(
        train,
        None,
        seed=site.seed_of(job),
        draws=job.draws,
        model=job.model,
        width=job.width,
        val=share.val if len(share.val) and not private else None,
        precision=job.precision,
        device=site.device,
        entropy=site.entropy,
        smallest=policy.smallest if private or train.multilabel else 1,
        on_event=on_event,
        remember=in_memory(store.remember),
        charge=account.charge,
    )
    answers = _answers(job, task, list(chosen.values())) if private else []
    account.require_room(item_of(job), _per_class(job, site), bounded=private)
    account.require([each for each in answers if store.get("noisy", key_of(each[0])) is None])
    done = {ipc: _budget(job, replace(task, ipc=ipc), store) for ipc in job.budgets}
    sets = {ipc: packed for ipc, (packed, _, _) in done.items()}
    if not method.real and not private:
        screened(policy, sets, train, share.held_out, on_event)
    told_privacy = privacy_statement(
        job.scheme, list(chosen.values()), groups=train.groups is not None, entropy=site.entropy
    )
    if site.secret is not None and not method.real and not private:
        told_privacy += " Its random numbers follow from a secret of the site."
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
        privacy=told_privacy + rules_kept(policy, unit=unit(train), private=private, real=method.real),
    )
    check_release(policy, answer, small=site.small(job.partition), apart=not site.deployed)
    data = answer.to_bytes()
    account.release(data, answers, item=item_of(job), per_class=_per_class(job, site))
    seconds = tuple(taken for _, taken, _ in done.values())
    on_event({"stage": "done", "final": True, "seconds": sum(seconds), "message": f"{len(data) / 1e3:,.0f} kB"})
    # Whether anybody has asked before is not for others to know.
    found = 0 if site.deployed else sum(kept for _, _, kept in done.values())
    examples = disclosed_count(len(train), policy.share_counts)
    return Outcome(job.name, site.name, release=data, seconds=seconds, examples=examples, found=found)


def item_of(job: Job) -> str:
    """Return the name of a job in the ledger: the same one is asked again, and no other, under the same name."""
    return key_of(asdict(job))


def _per_class(job: Job, site: Here) -> int | None:
    """Return how many images of a class would leave at most; None: as many as there are.

    At a deployed site all budgets and draws leave; of a simulation's, which are alternatives, a site would send one.
    """
    if not METHODS[job.scheme].budget:
        return None
    return sum(job.ipcs) * job.draws if site.deployed else max(job.ipcs)


def _asked(job: Job, site: Here, chosen: Sequence[Any] = (), *, held_out: bool = True) -> PolicyRequest:
    """What the policy judges; the settings as far as they are known."""
    private = is_private(job.scheme)
    return PolicyRequest(
        job.scheme,
        real=METHODS[job.scheme].real,
        starts=frozenset(str(each.start) for each in chosen if hasattr(each, "start")),
        per_class=_per_class(job, site),
        private=private,
        costs=costs_of(chosen) if private and site.policy.limit is not None else (),
        held_out=held_out,
        settings=method_settings(chosen, model=job.model, width=job.width, encoding=job.encoding),
    )


def _answers(job: Job, task: Task, chosen: Sequence[PrivateSettings]) -> list[Answers]:
    """The noisy answers that the budgets are made of, each once, and what they cost."""
    found = {key_of(about): (about, each) for each in chosen if (about := about_answers(task, each, job.scheme))}
    return [(about, each.cost()) for about, each in found.values()]


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
