"""The site's Flower app: a hospital that makes a Release of its own images, and scores networks on them.

Who it is and where its data lie, it knows from its own configuration; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's.
"""

import time

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.errors import PolicyError
from fedistill.federation.events import emitter
from fedistill.federation.failure import from_exception
from fedistill.federation.here import here
from fedistill.federation.messages import Outcome, pack_outcomes, pack_tallies, unpack_jobs, unpack_question
from fedistill.federation.site_private import Private
from fedistill.federation.site_release import carry_out
from fedistill.federation.site_training import counts, network_for, train_alone, train_round
from fedistill.federation.weights import Round, pack_learned, pack_round_reply, params_of, unpack_alone
from fedistill.privacy.policy import check_weights

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
    site, asked = here(context), Round.of(message.content)
    check_weights(site.federation.policy, scheme=asked.scheme)
    share, start = site.share(asked.partition), time.perf_counter()
    network = network_for(asked.model, asked.width, share)
    on_event = emitter(str(message.content.config_records["job"]["name"]))
    params = train_round(
        asked,
        params_of(message.content.array_records["arrays"], network),
        share,
        Private(site, on_event),
        site=site.name,
        gpus=site.gpus,
        on_event=on_event,
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
    share, private = site.share(asked.partition), Private(site, on_event)
    learned = train_alone(asked, share, site.store, private, gpus=site.gpus, on_event=on_event)
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
