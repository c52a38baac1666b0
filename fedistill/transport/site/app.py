"""The site's Flower app: a hospital that makes a Release of its own images, and scores networks on them.

Who it is and where its data lie, it knows from its own configuration; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's.
"""

import time
from dataclasses import replace

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.config import Share
from fedistill.errors import PolicyError
from fedistill.privacy.policy.disclosure import disclosed_count, disclosed_tally
from fedistill.privacy.policy.floors import MethodSettings
from fedistill.privacy.policy.rules import check_weights
from fedistill.transport.backend.events import emitter
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.protocol.messages import Outcome, pack_outcomes, pack_tallies, unpack_jobs, unpack_question
from fedistill.transport.protocol.training_messages import (
    LocalTrainRequest,
    RoundRequest,
    pack_learned,
    pack_round_reply,
    params_of,
    unpack_alone,
)
from fedistill.transport.site.context import Here, here
from fedistill.transport.site.deployed_rules import refuse_scores, require_bounded
from fedistill.transport.site.ledger import account
from fedistill.transport.site.private_training import Private
from fedistill.transport.site.release import carry_out
from fedistill.transport.site.training import counts, network_for, train_alone, train_round

app = ClientApp()


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


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of federated averaging: the message and the reply are those of Flower's own strategies."""
    site, asked, start = here(context), RoundRequest.of(message.content), time.perf_counter()
    name = str(message.content.config_records["job"]["name"])
    share = _share(site, asked)
    network = network_for(asked.model, asked.width, share)
    on_event = emitter(name)
    mine = account(site, asked.scheme, name.partition(" round ")[0], share.train)  # all rounds' charges add up
    params = train_round(
        asked,
        params_of(message.content.array_records["arrays"], network),
        share,
        Private(site, on_event, mine.charge),
        site=site.name,
        gpus=site.gpus,
        on_event=on_event,
    )
    mine.leaves(params)
    reply = pack_round_reply(
        dict(zip(network.names, params, strict=True)),
        site=site.name,
        examples=disclosed_count(len(share.train), site.policy.share_counts),
        seconds=time.perf_counter() - start,
    )
    return Message(reply, reply_to=message)


@app.train("alone")
def alone(message: Message, context: Context) -> Message:
    """Networks trained here to the end, on this site's images and what others released."""
    site, asked = here(context), unpack_alone(message.content)
    on_event = emitter(asked.name)
    share = _share(site, asked)
    mine = account(site, asked.scheme, asked.name, share.train, each_apart=True)
    private = Private(site, on_event, mine.charge)
    learned = train_alone(asked, share, site.store, private, gpus=site.gpus, on_event=on_event)
    learned = replace(learned, examples=disclosed_count(learned.examples, site.policy.share_counts))
    mine.leaves(tuple(learned.params.values()))
    on_event({"stage": "done", "final": True, "seconds": learned.seconds})
    return Message(pack_learned(site.name, learned), reply_to=message)


@app.evaluate("score")
def score(message: Message, context: Context) -> Message:
    """Counts of the networks' predictions on this site's own images; no prediction leaves the site."""
    site = here(context)
    refuse_scores(site)
    question = unpack_question(message.content)
    emitter(question.name)({"stage": "scoring"})
    images = site.scored(question.partition, question.split)
    network = network_for(question.model, question.width, site.whole(question.partition))
    tallies = counts(network, question.params, images, members=question.members)
    tallies = [disclosed_tally(tally, site.policy.share_counts) for tally in tallies]
    return Message(pack_tallies(site.name, tallies), reply_to=message)


def _share(site: Here, asked: RoundRequest | LocalTrainRequest) -> Share:
    """What networks that leave the site are trained on, where its policy lets them."""
    private = asked.private is not None
    require_bounded(site, partition=asked.partition, private=private)
    check_weights(
        site.policy, scheme=asked.scheme, private=private, settings=MethodSettings(model=asked.model, width=asked.width)
    )
    return site.whole(asked.partition) if private else site.share(asked.partition)
