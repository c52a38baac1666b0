"""A shadow of federated averaging: all rounds of it, in which the attacked site holds what this shadow deals it.

The attacker is the server (McMahan et al., AISTATS 2017, arXiv 1602.05629): it sends the global network out, sees what
every site sends back, and folds that by image counts, as Flower's FedAvg does. It knows the initial weights, who takes
part in which round, the local steps and their recipe; of the site's order of images, augmentation and noise it does not
know the seed. All that is drawn anew for every shadow, at the other sites too.

It is granted one thing more than the attacker of a site's Releases: all that the other sites hold. A real server sees
only their networks; but with them it knows what the attacked site was sent, round for round, up to the others' chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fedistill.core.seeds import spawn
from fedistill.data.imageset import ImageSet
from fedistill.methods.engine.method import Task
from fedistill.models import Network, Params
from fedistill.privacy.policy.disclosure import disclosed_count
from fedistill.training.dpsgd import DPSGD, begin, fit_privately
from fedistill.training.fit import fit
from fedistill.training.noise import source_for
from fedistill.training.recipe import Recipe

VERSION = 1
"""Raised when equal settings give other networks; part of their key in the store."""


@dataclass(frozen=True)
class Turns:
    """The sites that take part in each round, and their weights.

    Args:
        site: the attacked one.
        drawn: of each network, the sites of every round, in the federation's order.
        counts: what each site tells of how many images it holds (see `fedistill.privacy.policy.disclosure`): its
        weight.
        mu: weight of FedProx's proximal term; 0 for none.
    """

    site: str
    drawn: tuple[tuple[tuple[str, ...], ...], ...]
    counts: Mapping[str, str]
    mu: float = 0.0


@dataclass(frozen=True, eq=False)
class ShadowRounds:
    """The specification of a shadow whose sites send networks in rounds. Others: `ShadowImages`, `ShadowLocal`.

    Args:
        network, seeds: as of `fedistill.privacy.attacks.shadows.Mechanism`; initial weights come from the seeds.
        recipe: of one round at a site.
        turns: who takes part; others: what every other site holds.
        private: settings of DP-SGD where sites train by it, for all rounds; each network spends its epsilon anew.
    """

    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    turns: Turns
    others: Mapping[str, ImageSet]
    private: DPSGD | None = None


def sent(task: Task, rounds: ShadowRounds) -> list[Params]:
    """Return the networks that the site sends, one for each round it takes part in, on the CPU.

    Args:
        task: with the images the shadow holds, and a seed that is its own.
        rounds: the specification.
    """
    # All rounds, not the last alone: 80 images of phantom:breast, width 8, 6 rounds, 16 shadows, AUC of the strongest
    # attack by the last round's networks and by all: 62 and 63 % (1 local epoch), 71 and 73 (5), 70 and 75 (5, lr 0.1).
    # After 20 rounds of 1 epoch the last alone tells as much (67 and 66, intervals of 12 points).
    total, done = sum(_last(rounds, drawn) for drawn in rounds.turns.drawn), 0
    sigma = None if rounds.private is None else rounds.private.mechanism().sigma
    updates: list[Params] = []
    for number, seed in enumerate(rounds.seeds):
        drawn = rounds.turns.drawn[number]
        now = begin(rounds.network, seed)
        for i, sites in enumerate(drawn[: _last(rounds, drawn)]):
            of_round = spawn(task.seed, "network", number, "round", i + 1)
            now, own = one_round(task, rounds, now, sites, seed=of_round, sigma=sigma)
            updates += [] if own is None else [own]
            done += 1
            task.on_event({"stage": "training", "step": done, "steps": total})
    return updates


def one_round(
    task: Task, rounds: ShadowRounds, start: Params, sites: tuple[str, ...], *, seed: int, sigma: float | None
) -> tuple[Params, Params | None]:
    """Run one round; return the global network, and the attacked site's update (None if it took no part).

    Args:
        task: with the images that the attacked site holds.
        rounds: the specification.
        start: the global network before it.
        sites: who takes part.
        seed: of the round; every site's own is spawned from it by its name.
        sigma: of the noise, where the round is private.
    """
    updates: list[tuple[int, Params]] = []
    own = None
    for name in sites:
        images = task.images if name == rounds.turns.site else rounds.others[name]
        if not len(images):
            continue  # it cannot answer, and the others go on
        params = _at_site(rounds, images, start, seed=spawn(seed, name), device=torch.device(task.device), sigma=sigma)
        updates.append((disclosed_count(len(images), rounds.turns.counts[name]), params))
        own = params if name == rounds.turns.site else own
    return (fold(updates) if updates else start), own


def fold(updates: list[tuple[int, Params]]) -> Params:
    """Average the updates by the reported numbers of images, with Flower's FedAvg.

    Args:
        updates: number of images and parameters, one pair a site, in the federation's order.

    >>> [mean.tolist() for mean in fold([(1, (torch.zeros(2),)), (3, (torch.ones(2),))])]
    [[0.75, 0.75]]
    """
    total = sum(count for count, _ in updates)
    parts = [[p * (count / total) for p in params] for count, params in updates]
    return tuple(sum(each[1:], each[0]) for each in zip(*parts, strict=True))


def _at_site(
    rounds: ShadowRounds, images: ImageSet, start: Params, *, seed: int, device: torch.device, sigma: float | None
) -> Params:
    """Return the update that one site sends."""
    if rounds.private is not None:
        assert sigma is not None
        params = fit_privately(
            rounds.network,
            images,
            rounds.private,
            sigma=sigma,
            source=source_for("seeded", seed, "dpsgd"),  # as unknown to the attacker as any
            start=start,
            steps=rounds.recipe.steps,
            device=device,
        )
    else:
        params = fit(
            rounds.network,
            images.pixels().to(device),
            images.targets().to(device),
            rounds.recipe,
            seed=seed,
            mirror=images.mirror,
            start=start,
            proximal=rounds.turns.mu,
        )
    return tuple(p.cpu() for p in params)


def _last(rounds: ShadowRounds, drawn: tuple[tuple[str, ...], ...]) -> int:
    """Return the last round, from 1, that the attacked site takes part in: later ones reveal nothing new."""
    return max((i + 1 for i, sites in enumerate(drawn) if rounds.turns.site in sites), default=0)
