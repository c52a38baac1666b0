"""The site's Flower app: a hospital that makes a Release of its own images, and scores networks on them.

Who it is and where its data lie, it knows from its own configuration; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.distill import METHODS, Method, Task, in_memory, privacy_statement, provenance, settings_for, steady
from fedistill.distill.release import Packed, Release, pack, require_encoding, unpack
from fedistill.errors import PlanError, PolicyError
from fedistill.federation.events import emitter
from fedistill.federation.failure import from_exception
from fedistill.federation.messages import (
    Outcome,
    pack_outcomes,
    pack_tallies,
    unpack_jobs,
    unpack_question,
)
from fedistill.federation.site_training import counts, network_for, train_alone, train_round
from fedistill.federation.weights import Round, pack_learned, pack_round_reply, params_of, unpack_alone
from fedistill.plan import Federation, Job, Share, everything, holdings_here, load_simulation
from fedistill.plan.schemes import EVERYONE
from fedistill.privacy.policy import check_release, check_request, check_weights
from fedistill.store import KeptCheckpoints, Store, key_of
from fedistill.training.device import device_for

app = ClientApp()


@dataclass(frozen=True)
class Here:
    """This site: its federation and place in it, its data folder, its store.

    One place beyond the last site is ``everyone``: in a simulation, all sites' data at one, for ``central-`` schemes.
    """

    federation: Federation
    place: int
    data_root: str | None
    store: Store

    @property
    def device(self) -> str:
        """Where its jobs compute: on a GPU where its site's settings give them one."""
        return str(device_for(self.gpus))

    @property
    def gpus(self) -> float:
        return self.federation.of(self.name).gpus

    @property
    def name(self) -> str:
        return (*self.federation.sites, EVERYONE)[self.place]

    def share(self, partition: int) -> Share:
        held = holdings_here(self.federation, partition, self.data_root, self.store.remember)
        return everything(held) if self.name == EVERYONE else held.shares[self.place]


def here(context: Context) -> Here:
    """The site's own configuration."""
    own, run = context.node_config, context.run_config
    place = int(str(own["partition-id"]))
    if "federation" in own:
        federation = Federation.model_validate_json(str(own["federation"]), strict=False)
        root, store = str(own.get("data-root", "")), str(own["store"])
    else:
        simulation = load_simulation(str(run["simulation"]), phantom=bool(run.get("phantom", False)))
        federation = simulation.federation
        root, out = str(run.get("data-root", "")), str(run.get("out", "")) or f"runs/{simulation.name}"
        store = str(Path(out) / "work")
    places = len(federation.sites) + bool(own.get("everyone"))
    if place >= places:
        raise PlanError(
            f"Federation {federation.name!r} has no site number {place + 1}.",
            expected=f"at most {len(federation.sites)} nodes",
            found=f"partition-id={place}",
        )
    return Here(federation, place, root or None, Store(Path(store)))


@app.query("who")
def who(message: Message, context: Context) -> Message:
    """Which site this node is."""
    return Message(RecordDict({"who": ConfigRecord({"site": here(context).name})}), reply_to=message)


@app.query("release")
def release(message: Message, context: Context) -> Message:
    """Carry out jobs, one after another, each stored before the next."""
    site = here(context)
    outcomes = []
    for job in unpack_jobs(message.content):
        try:
            outcomes.append(carry_out(job, site, emitter(job.name)))
        except PolicyError as refusal:
            outcomes.append(Outcome(job.name, site.name, refused=str(refusal)))
        except Exception as error:
            failure = from_exception(error)
            outcomes.append(Outcome(job.name, site.name, error=failure.line, trace=failure.trace))
    return Message(pack_outcomes(outcomes), reply_to=message)


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
        privacy=privacy_statement(job.scheme),
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


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of federated averaging: the message and the reply are those of Flower's own strategies."""
    site, asked = here(context), Round.of(message.content)
    check_weights(site.federation.policy, scheme=asked.scheme)
    share, start = site.share(asked.partition), time.perf_counter()
    network = network_for(asked.model, asked.width, share)
    name = str(message.content.config_records["job"]["name"])
    params = train_round(
        asked,
        params_of(message.content.array_records["arrays"], network),
        share,
        site=site.name,
        gpus=site.gpus,
        on_event=emitter(name),
    )
    reply = pack_round_reply(
        dict(zip(network.names, params, strict=True)),
        site=site.name,
        examples=len(share.train),
        seconds=time.perf_counter() - start,
    )
    return Message(reply, reply_to=message)


@app.train("alone")
def alone(message: Message, context: Context) -> Message:
    """Networks trained here to the end, on this site's images and what others released."""
    site, asked = here(context), unpack_alone(message.content)
    check_weights(site.federation.policy, scheme=asked.scheme)
    on_event = emitter(asked.name)
    learned = train_alone(asked, site.share(asked.partition), site.store, gpus=site.gpus, on_event=on_event)
    on_event({"stage": "done", "final": True, "seconds": learned.seconds})
    return Message(pack_learned(site.name, learned), reply_to=message)


@app.evaluate("score")
def score(message: Message, context: Context) -> Message:
    """Counts of the networks' predictions on this site's own images; no prediction leaves the site."""
    site = here(context)
    question = unpack_question(message.content)
    emitter(question.name)({"stage": "scoring"})
    share = site.share(question.partition)
    split = {"val": share.val, "held_out": share.held_out}[question.split]
    network = network_for(question.model, question.width, share)
    tallies = counts(network, question.params, split, members=question.members)
    return Message(pack_tallies(site.name, tallies), reply_to=message)
