"""The site's Flower app: it makes Releases of its own images, trains networks on them, and scores networks.

Its own configuration says which site it is and where its data are; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's.
"""

from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.config.scheme import scheme_named
from fedistill.core.events import Event
from fedistill.errors import PolicyError
from fedistill.privacy.policy.disclosure import disclosed_tally
from fedistill.transport.backend.events import emitter
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.protocol.messages import Outcome, pack_outcomes, pack_tallies, unpack_jobs, unpack_question
from fedistill.transport.protocol.training_messages import RoundRequest, pack_learned, pack_round_reply, unpack_alone
from fedistill.transport.site.context import SiteContext, read_context
from fedistill.transport.site.deployed_rules import refuse_scores
from fedistill.transport.site.scoring import build_network, score_networks

app = ClientApp()


@app.query("who")
def who(message: Message, context: Context) -> Message:
    """Say which site this node is."""
    return Message(RecordDict({"who": ConfigRecord({"site": read_context(context).name})}), reply_to=message)


@app.query("release")
def release(message: Message, context: Context) -> Message:
    """Carry out jobs one after another; each is stored before the next begins."""
    site = read_context(context)
    outcomes = []
    for job in unpack_jobs(message.content):
        try:
            outcomes.append(_answer(job, site))
        except PolicyError as refusal:
            outcomes.append(Outcome(job.name, site.name, refused=str(refusal)))
        except Exception as error:
            failure = from_exception(error)
            outcomes.append(Outcome(job.name, site.name, error=failure.line, trace=failure.trace))
    return Message(pack_outcomes(outcomes), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train in one round of federated averaging, with the message and reply of Flower's own strategies."""
    site, request = read_context(context), RoundRequest.of(message.content)
    reply = _answer(request, site)
    return Message(
        pack_round_reply(reply.params, site=site.name, examples=reply.examples, seconds=reply.seconds),
        reply_to=message,
    )


@app.train("alone")
def alone(message: Message, context: Context) -> Message:
    """Train networks to the end, on this site's images and the others' Releases."""
    site, request = read_context(context), unpack_alone(message.content)
    return Message(pack_learned(site.name, _answer(request, site)), reply_to=message)


@app.evaluate("score")
def score(message: Message, context: Context) -> Message:
    """Count the networks' correct predictions on this site's own images; no prediction leaves the site."""
    site = read_context(context)
    refuse_scores(site)
    question = unpack_question(message.content)
    emitter(question.name)(Event("scoring"))
    images = site.scored(question.partition, question.split)
    network = build_network(question.model, question.width, site.whole(question.partition))
    tallies = score_networks(network, question.params, images, members=question.members)
    tallies = [disclosed_tally(tally, site.policy.share_counts) for tally in tallies]
    return Message(pack_tallies(site.name, tallies), reply_to=message)


def _answer(request: Any, site: SiteContext) -> Any:
    """Have the scheme that a request names carry it out.

    Raises:
        PolicyError: the scheme takes other requests: a server may name a scheme, not turn it into another.
    """
    scheme = scheme_named(request.scheme)
    if not isinstance(request, scheme.request):
        raise PolicyError(
            f"The site answers no such request for the scheme {scheme.name!r}.",
            expected=scheme.request.__name__,
            found=type(request).__name__,
        )
    return scheme.answer(request, site)
