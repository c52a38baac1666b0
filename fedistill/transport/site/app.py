"""The site's Flower app: a hospital that makes a Release of its own images, and scores networks on them.

Who it is and where its data lie, it knows from its own configuration; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's.
"""

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.config.scheme import scheme_named
from fedistill.core.events import Event
from fedistill.errors import PolicyError
from fedistill.privacy.policy.disclosure import told_tally
from fedistill.transport.backend.events import emitter
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.protocol.messages import Outcome, pack_outcomes, pack_tallies, unpack_jobs, unpack_question
from fedistill.transport.protocol.training_messages import RoundRequest, pack_learned, pack_round_reply, unpack_alone
from fedistill.transport.site.context import read_context
from fedistill.transport.site.deployed_rules import refuse_scores
from fedistill.transport.site.scoring import counts, network_for

app = ClientApp()


@app.query("who")
def who(message: Message, context: Context) -> Message:
    """Which site this node is."""
    return Message(RecordDict({"who": ConfigRecord({"site": read_context(context).name})}), reply_to=message)


@app.query("release")
def release(message: Message, context: Context) -> Message:
    """Carry out jobs, one after another, each stored before the next."""
    site = read_context(context)
    outcomes = []
    for job in unpack_jobs(message.content):
        try:
            outcomes.append(scheme_named(job.scheme).answer(job, site))
        except PolicyError as refusal:
            outcomes.append(Outcome(job.name, site.name, refused=str(refusal)))
        except Exception as error:
            failure = from_exception(error)
            outcomes.append(Outcome(job.name, site.name, error=failure.line, trace=failure.trace))
    return Message(pack_outcomes(outcomes), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of federated averaging: the message and the reply are those of Flower's own strategies."""
    site, request = read_context(context), RoundRequest.of(message.content)
    reply = scheme_named(request.scheme).answer(request, site)
    return Message(
        pack_round_reply(reply.params, site=site.name, examples=reply.examples, seconds=reply.seconds),
        reply_to=message,
    )


@app.train("alone")
def alone(message: Message, context: Context) -> Message:
    """Networks trained here to the end, on this site's images and what others released."""
    site, request = read_context(context), unpack_alone(message.content)
    return Message(pack_learned(site.name, scheme_named(request.scheme).answer(request, site)), reply_to=message)


@app.evaluate("score")
def score(message: Message, context: Context) -> Message:
    """Counts of the networks' predictions on this site's own images; no prediction leaves the site."""
    site = read_context(context)
    refuse_scores(site)
    question = unpack_question(message.content)
    emitter(question.name)(Event("scoring"))
    images = site.scored(question.partition, question.split)
    network = network_for(question.model, question.width, site.whole(question.partition))
    tallies = counts(network, question.params, images, members=question.members)
    tallies = [told_tally(tally, site.policy.share_counts) for tally in tallies]
    return Message(pack_tallies(site.name, tallies), reply_to=message)
