"""A Release of a site's own images: distil, encode, check against the site's policy, store."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from fedistill.config import Job
from fedistill.core.events import Event, OnEvent
from fedistill.core.ranges import detail
from fedistill.core.store import KeptCheckpoints, Store, key_of
from fedistill.data import ImageSet
from fedistill.errors import PolicyError
from fedistill.methods import METHODS, Method, Task, in_memory, labels_for, privacy_statement, provenance, settings_for
from fedistill.methods.engine import loop
from fedistill.methods.engine.settings import pack_of
from fedistill.methods.engine.soft_labels import STATED, require_one_label, soft_labels
from fedistill.methods.private.queries import PrivateSettings, about_answers, costs_of
from fedistill.methods.registry import is_private
from fedistill.privacy.policy.disclosure import disclosed_count, unit
from fedistill.privacy.policy.floors import method_settings, patients_per_image
from fedistill.privacy.policy.release_check import check_release, rules_kept, screened
from fedistill.privacy.policy.rules import PolicyRequest, check_request
from fedistill.release.release import Packed, Release, pack, require_encoding, unpack
from fedistill.transport.protocol.messages import Outcome
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.deployed_rules import require_own
from fedistill.transport.site.ledger import Answers, open_job_account


def as_it_is(task: Task) -> Task:
    """Return a task unchanged."""
    return task


def carry_out(job: Job, site: SiteContext, on_event: OnEvent, prepare: Callable[[Task], Task] = as_it_is) -> Outcome:
    """Carry out one job: distil, encode, check against the site's own policy, enter in the ledger.

    Args:
        job: the request.
        site: the site.
        on_event: told of progress.
        prepare: adds to the task, which has no budget yet, what came with the request; called after the policy has
            allowed it.

    Raises:
        PolicyError: the site's policy forbids it.
    """
    method, policy = METHODS[job.method], site.policy
    require_own(site, job)
    deployed, costed = site.deployed, policy.limit is not None
    check_request(policy, requested(job, deployed=deployed))  # before any data are touched
    require_encoding(job.encoding)
    private = is_private(job.method)
    share = site.whole(job.partition) if private else site.share(job.partition)
    train = share.train
    if not len(train):
        raise PolicyError(
            f"The site's policy forbids {job.scheme!r}: no class has {policy.least_in_class} {unit(train)}s (rule "
            f"{'min_class_size' if policy.smallest >= policy.smallest_batch else 'smallest_batch'})."
        )
    chosen = {ipc: settings_for(job.method, job.settings, ipc=ipc) for ipc in job.budgets}
    known, held_out = list(chosen.values()), bool(len(share.held_out))
    check_request(policy, requested(job, known, deployed=deployed, held_out=held_out, costed=costed))
    waiting = Event("waiting", message="another job makes what this one needs")
    store = Store(
        site.store.root,
        on_wait=lambda: on_event(waiting),
        on_damage=lambda words: on_event(Event("damaged file", message=words)),
    )
    if method.real and policy.share_counts != "exact":
        _require_filled(train, known)
    labels = labels_for(job.method, job.settings)
    if labels.soft:
        require_one_label(train)
    account = open_job_account(job, site, train)
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
    task = prepare(task)
    answers = _answers(job, task, known) if private else []
    most = per_class(job, known, deployed=deployed)
    account.require_room(item_of(job), most, bounded=private)
    account.require([each for each in answers if store.get("noisy", key_of(each[0])) is None])
    done = {ipc: _budget(job, replace(task, ipc=ipc), store) for ipc in job.budgets}
    sets = {ipc: packed for ipc, (packed, _, _) in done.items()}
    if not method.real and not private:
        screened(policy, sets, train, share.held_out, on_event)
    statement = privacy_statement(
        job.method, list(chosen.values()), groups=train.groups is not None, entropy=site.entropy
    )
    if labels.soft:
        statement += STATED
    if site.secret is not None and not method.real and not private:
        statement += " Its random numbers follow from a secret of the site."
    answer = Release(
        site=job.site,
        scheme=job.scheme,
        seed=job.seed,
        partition=job.partition,
        real=method.real,
        sets=sets,
        provenance=provenance(
            job.method,
            {str(ipc): detail(each) for ipc, each in chosen.items()},
            model=job.model,
            width=job.width,
            precision=task.computes_in,
            images=train,
            labels=labels,
        ),
        privacy=statement + rules_kept(policy, unit=unit(train), private=private, real=method.real),
    )
    check_release(policy, answer, small=site.small(job.partition), apart=not site.deployed)
    data = answer.to_bytes()
    account.release(data, answers, item=item_of(job), per_class=most)
    seconds = tuple(taken for _, taken, _ in done.values())
    on_event(Event("done", seconds=sum(seconds), bytes=len(data)))
    # A deployed site does not reveal whether others have requested the same.
    stored = 0 if site.deployed else sum(was_stored for _, _, was_stored in done.values())
    examples = disclosed_count(len(train), policy.share_counts)
    return Outcome(job.name, site.name, release=data, seconds=seconds, examples=examples, found=stored)


def item_of(job: Job) -> str:
    """Return the name of a job in the ledger: the same for a repeated job, different for any other."""
    return key_of(asdict(job))


def per_class(job: Job, chosen: Sequence[Any] = (), *, deployed: bool) -> int | None:
    """Return the largest number of images of a class that would leave; None for all of them.

    Patients' images that are packed in one count each.

    Args:
        job: the request.
        chosen: settings of each budget, once they are known; before, an image counts as one.
        deployed: whether all budgets and draws leave, as at a deployed site; in a simulation they are alternatives, of
            which one would.
    """
    method = METHODS[job.method]
    if not method.budget:
        return None
    times = [patients_per_image(each, real=method.real) for each in chosen] or [1] * len(job.ipcs)
    counts = [ipc * each for ipc, each in zip(job.ipcs, times, strict=True)]
    return sum(counts) * job.draws if deployed else max(counts)


def requested(
    job: Job, chosen: Sequence[Any] = (), *, deployed: bool, held_out: bool = True, costed: bool = True
) -> PolicyRequest:
    """Return a job as a policy checks it, with the settings known so far.

    Args:
        job: the request.
        chosen: settings of each budget, as far as they are known.
        deployed: whether all of it leaves together.
        held_out: whether the site has images set aside.
        costed: whether the privacy costs are wanted, which take seconds to work out.
    """
    private = is_private(job.method)
    return PolicyRequest(
        job.scheme,
        real=METHODS[job.method].real,
        starts=frozenset(str(each.start) for each in chosen if hasattr(each, "start")),
        per_class=per_class(job, chosen, deployed=deployed),
        private=private,
        costs=costs_of(chosen) if private and costed else (),
        held_out=held_out,
        settings=method_settings(chosen, model=job.model, width=job.width, encoding=job.encoding),
        soft=labels_for(job.method, job.settings).soft,
    )


def _require_filled(images: ImageSet, chosen: Sequence[Any]) -> None:
    """Raise PolicyError where a class would have to repeat its images in a packed one, which tells how many it has."""
    counts = images.counts()
    if any(pack_of(each) > 1 and 0 < count < pack_of(each) ** 2 for each in chosen for count in counts):
        raise PolicyError(
            "The site's policy forbids it: a class has fewer images than one packed image holds, which would show how "
            "many (rule share_counts).",
            mend="lower pack",
        )


def _answers(job: Job, task: Task, chosen: Sequence[PrivateSettings]) -> list[Answers]:
    """Return the distinct noisy answers that the budgets need, with their costs."""
    answers = {key_of(about): (about, each) for each in chosen if (about := about_answers(task, each, job.method))}
    return [(about, each.cost()) for about, each in answers.values()]


def _budget(job: Job, task: Task, store: Store) -> tuple[Packed, float, bool]:
    """Return one budget of a job with its labels: images, seconds it took, and whether the store had the images."""
    packed, seconds, found = _images(job, task, store)
    labels = labels_for(job.method, job.settings)
    if labels.soft:
        start = time.perf_counter()
        packed = replace(packed, soft=soft_labels(task, unpack(packed, task.ipc), labels))
        seconds += time.perf_counter() - start
    return packed, seconds, found


def _images(job: Job, task: Task, store: Store) -> tuple[Packed, float, bool]:
    """Return one budget's images, the seconds of the distillation, and whether the store had them.

    The store keeps images in full precision, so that another encoding needs no distillation. It keeps no real images:
    drawing them again takes no time.
    """
    method = METHODS[job.method]
    chosen = settings_for(job.method, job.settings, ipc=task.ipc)
    version = [method.version, loop.VERSION]
    key = key_of({"method": job.method, "version": version, "settings": detail(chosen), **task.detail()})
    if method.real:
        start = time.perf_counter()
        subset = method.run(task, chosen)
        return pack(subset, real=True), time.perf_counter() - start, False
    stored = store.get("synthetic", key)
    if stored is None:
        # Another job, such as one of a sweep with another encoding or more budgets, may be computing it.
        with store.making("synthetic", key):
            stored = store.get("synthetic", key)
            if stored is None:
                exact, seconds = _distil(task, method, chosen, store, key)
                return _encode(exact, job, task.ipc), seconds, False
    tensors, note = stored
    return _encode(Packed(**tensors, pack=note.get("pack", 1)), job, task.ipc), float(note["seconds"]), True


def _distil(task: Task, method: Method, settings: Any, store: Store, key: str) -> tuple[Packed, float]:
    """Distil one budget, store its images in full precision, and return them and the seconds it took."""
    checkpoints = KeptCheckpoints(store)
    start = time.perf_counter()
    synthetic = method.run(replace(task, checkpoints=checkpoints), settings)
    seconds = synthetic.seconds_before + time.perf_counter() - start
    exact = pack(synthetic, real=False, encoding="float32")
    store.put("synthetic", key, exact.tensors(), {"seconds": seconds, "pack": exact.pack})
    checkpoints.drop()
    return exact, seconds


def _encode(exact: Packed, job: Job, ipc: int | None) -> Packed:
    """Return stored images in the job's encoding."""
    return pack(unpack(exact, ipc), real=False, encoding=job.encoding)
