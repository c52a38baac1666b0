"""Questions to deployed sites for scores of networks, which choose step sizes, and say what a condition is worth there.

Both sides work them out from the study alone: the server names a question and sends the networks, and the site knows
how many there may be, on which images they are scored, and how much noise goes on the counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fedistill.config import Simulation
from fedistill.consent.items import SCORES, Item
from fedistill.consent.study import NOT_OF_THE_STUDY
from fedistill.core.store import key_of
from fedistill.privacy.policy.noisy_scores import ScoreNoise
from fedistill.privacy.policy.rules import PolicyRequest
from fedistill.schemes.server.condition import Condition
from fedistill.transport.protocol.codec import tensors_of
from fedistill.transport.protocol.messages import EvalRequest


@dataclass(frozen=True)
class Question:
    """A question for scores of networks.

    Args:
        name: of the question; each site's item is called ``SITE NAME``.
        model: of the networks.
        networks: that are scored. One whose predictions are the mean of several networks' counts as one.
        split: ``val`` or ``held_out``.
        most_members: networks that give one prediction together, at most: as many as sites sent theirs.
    """

    name: str
    model: str
    networks: int
    split: str = "val"
    most_members: int = 1


def evaluation_name(condition: Condition) -> str:
    """Return the name of the question how a condition's networks do on the images that a site has set aside."""
    return f"evaluation {condition.name}"


def items_for(
    simulation: Simulation, site: str, own: Sequence[Question], everything: Sequence[Question]
) -> Iterator[Item]:
    """Yield the items of one scheme's questions to a site.

    Args:
        simulation: the study.
        site: its name.
        own: the scheme's questions.
        everything: all schemes' questions to this site, which share the study's epsilons and one count of networks.
    """
    about = simulation.model_dump(mode="json", exclude=set(NOT_OF_THE_STUDY))
    epsilons = {"val": simulation.scores_epsilon, "held_out": simulation.evaluation_epsilon}
    in_all = sum(each.networks for each in everything)
    for question in own:
        epsilon, alike = epsilons[question.split], [each for each in everything if each.split == question.split]
        assert epsilon is not None  # without one nothing is asked
        noise = ScoreNoise(epsilon, len(alike), question.networks, in_all)
        sends = PolicyRequest(SCORES, sends="scores", private=True, costs=(noise.cost,), networks=in_all)
        name = f"{site} {question.name}"
        asked = _Asked(name, question, simulation.width, noise)
        yield Item(
            name,
            "scores",
            SCORES,
            sends,
            # Two studies share no answer to such a question: each draws noise of its own, and pays for it.
            key_of({"scores": name, "study": about}),
            asked,
            networks=question.networks,
            split=question.split,
        )


@dataclass(frozen=True)
class _Asked:
    """Makes the request of the networks that came with a question."""

    name: str
    question: Question
    width: int
    noise: ScoreNoise

    def __call__(self, arrays: Any) -> EvalRequest:
        params = {} if arrays is None else tensors_of(arrays)
        question = self.question
        members = min(_leading(params) // question.networks, question.most_members)
        return EvalRequest(
            self.name, question.model, self.width, 0, params, question.split, max(1, members), noise=self.noise
        )


def _leading(params: dict[str, Tensor]) -> int:
    """Return the length of the first axis, over the networks; 0 where the tensors do not agree on one."""
    lengths = {value.shape[0] if value.ndim else 0 for value in params.values()}
    return lengths.pop() if len(lengths) == 1 else 0
