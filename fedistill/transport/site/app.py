"""The site's Flower app: it makes Releases of its own images, trains networks on them, and scores networks.

Its own configuration says which site it is and where its data are; a request cannot name a file. In a simulation the
grid gives each site its configuration; in Flower's own simulation runtime it follows from the run's. A simulated site
does what a request says. A deployed one takes of a request only the names of items of a study that it agreed to
(`fedistill.transport.site.desk`); from there on both do the same.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.config.scheme import scheme_named
from fedistill.core.events import Event
from fedistill.errors import PolicyError
from fedistill.privacy.policy.disclosure import disclosed_tally
from fedistill.transport.backend.events import emitter
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.protocol.guided import unpack_guided
from fedistill.transport.protocol.messages import (
    EvalRequest,
    Outcome,
    pack_outcomes,
    pack_tallies,
    unpack_jobs,
    unpack_outcomes,
    unpack_question,
)
from fedistill.transport.protocol.round_messages import RoundRequest, pack_round_reply
from fedistill.transport.protocol.training_messages import pack_learned, unpack_alone
from fedistill.transport.site import desk
from fedistill.transport.site.context import SiteContext, read_context
from fedistill.transport.site.scoring import build_network, score_networks, score_with_noise

app = ClientApp()


@app.query("who")
def who(message: Message, context: Context) -> Message:
    """Say which site this node is."""
    return Message(RecordDict({"who": ConfigRecord({"site": read_context(context).name})}), reply_to=message)


@app.query("agreed")
def agreed(message: Message, context: Context) -> Message:
    """Say whether this site has agreed to a study."""
    return Message(RecordDict({"agreed": desk.agreed(message, _deployed(read_context(context)))}), reply_to=message)


@app.query("release")
def release(message: Message, context: Context) -> Message:
    """Carry out jobs one after another; each is stored before the next begins."""
    site = read_context(context)
    if site.deployed:
        at = desk.Desk(message, site)
        outcomes = [_outcome(name, site, partial(_kept_outcome, at, name)) for name in at.names]
    else:
        jobs = unpack_jobs(message.content)
        outcomes = [_outcome(job.name, site, partial(_answer, job, site)) for job in jobs]
    return Message(pack_outcomes(outcomes), reply_to=message)


@app.query("guided")
def guided(message: Message, context: Context) -> Message:
    """Carry out one round's images, which a network of the server's guides; in simulations only."""
    site = read_context(context)
    if site.deployed:
        with desk.refusals_logged(site):
            raise PolicyError(
                "The site makes no images that a network of the server's guides: whoever chooses the network chooses "
                "which patients' images count (rule agreement).",
                mend="share the images in one round, or run rounds of images in a simulation",
            )
    request = unpack_guided(message.content)
    outcome = _outcome(request.job.name, site, partial(_answer, request, site))
    return Message(pack_outcomes([outcome]), reply_to=message)


def _kept_outcome(at: desk.Desk, name: str) -> Outcome:
    content = at.answer(name, lambda request, site: pack_outcomes([_answer(request, site)]))
    [outcome] = unpack_outcomes(content)
    return outcome


def _outcome(name: str, site: SiteContext, make: Callable[[], Outcome]) -> Outcome:
    """Return what comes of one job: a Release, or why there is none."""
    try:
        return make()
    except desk.WaitsError as waiting:
        return Outcome(name, site.name, waits=waiting.what)
    except PolicyError as refusal:
        return Outcome(name, site.name, refused=str(refusal))
    except Exception as error:
        failure = from_exception(error)
        return Outcome(name, site.name, error=failure.line, trace=failure.trace)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train in one round of federated averaging, with the message and reply of Flower's own strategies."""

    def carry(request: Any, site: SiteContext) -> RecordDict:
        reply = _answer(request, site)
        return pack_round_reply(reply.params, site=site.name, examples=reply.examples, seconds=reply.seconds)

    return _reply(message, context, carry, RoundRequest.of)


@app.train("alone")
def alone(message: Message, context: Context) -> Message:
    """Train networks to the end, on this site's images and the others' Releases."""
    return _reply(message, context, lambda request, site: pack_learned(site.name, _answer(request, site)), unpack_alone)


@app.evaluate("score")
def score(message: Message, context: Context) -> Message:
    """Count the networks' correct predictions on this site's own images; no prediction leaves the site."""
    return _reply(message, context, _scores, unpack_question)


def _reply(message: Message, context: Context, carry: desk.Carry, read: Callable[[RecordDict], Any]) -> Message:
    """Answer a message with one question: at a deployed site by its agreement, in a simulation as it stands there."""
    site = read_context(context)
    if site.deployed:
        at = desk.Desk(message, site)
        [name] = at.names
        return Message(at.answer(name, carry), reply_to=message)
    return Message(carry(read(message.content), site), reply_to=message)


def _scores(question: EvalRequest, site: SiteContext) -> RecordDict:
    emitter(question.name)(Event("scoring"))
    if question.noise is not None:
        return pack_tallies(site.name, score_with_noise(question, site, question.noise))
    images = site.scored(question.partition, question.split)
    network = build_network(question.model, question.width, site.whole(question.partition))
    tallies = score_networks(network, question.params, images, members=question.members)
    return pack_tallies(site.name, [disclosed_tally(tally, site.policy.share_counts) for tally in tallies])


def _deployed(site: SiteContext) -> SiteContext:
    if not site.deployed:
        raise PolicyError("A simulation's site agrees to its own simulation, and to no other.")
    return site


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
