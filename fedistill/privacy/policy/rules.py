"""The policy of a site: its rules on what may leave, applied by the site itself before any work.

A request is judged by what it would send (`PolicyRequest`), never by its own word. The result is checked again before
it leaves (`fedistill.privacy.policy.release_check`). A refusal names the rule. The same objections are raised when a
simulation's file is read, so that the user learns before any work what every site would refuse.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, model_validator

from fedistill.core.accounting import PrivacyCost
from fedistill.core.ranges import AS_TUPLE, Count, known
from fedistill.core.settings import Frozen
from fedistill.errors import PolicyError
from fedistill.models import MODELS
from fedistill.privacy.accounting.budget import within
from fedistill.privacy.policy.floors import MethodSettings, below_floor
from fedistill.privacy.policy.proximity import QUANTILE

Counts = Literal["exact", "rounded", "none"]

TELLS = ("noise", "mean", "real")
"""Levels of the rule ``start``: each allows those before it."""


class Policy(Frozen):
    """A site's rules.

    Args:
        allow_real_images: whether schemes that send patients' own images (full, random, herding) may run. Refused
            unless a federation file allows it, as those of simulations do for their baselines.
        allow_weights: whether schemes that send networks trained on patients' images (fedavg, ensemble) may run.
            Refused unless allowed, for a network tells of what it was trained on.
        start: where synthetic images may start from: ``noise`` alone; ``mean``, means of a cluster's images and draws
            from a Gaussian fitted to them too; or ``real`` ones as well, which few steps leave recognisable.
        allow_soft_labels: whether images may travel with the probabilities that networks trained on patients' images
            give them, which tell of these networks as their weights would. Refused unless allowed.
        min_class_size: a class of fewer training patients (images, where they do not say whose they are) takes part in
            nothing: no image, network or score is made of it, and nothing says that it is there. 0 or 1: off.
        max_ipc: images of a class that may leave. At a deployed site that is the sum over all budgets and draws of all
            Releases without a privacy bound that ever left, by its ledger; in a simulation, whose Releases are
            alternatives, a bound on every budget of every Release by itself.
        max_releases: Releases that may leave a deployed site, in all, by its ledger; the same one again is no other.
        smallest_batch, smallest_cluster: real images in any mean or batch, and in a cluster, that a method may be told
            to take; a class with fewer patients than smallest_batch takes no part, for its mean would be of fewer.
        fewest_iterations: steps that a method may be told to take at least.
        encoding: ``uint8`` alone, or ``any`` that a Release can have.
        models, widths: networks that may be matched on; empty: any. For these rules see
        `fedistill.privacy.policy.floors`.
        share_counts: what is told of how many images there are: ``exact``; ``rounded`` to tens; ``none``. See
            `fedistill.privacy.policy.disclosure`.
        epsilon_max, delta: the privacy budget of this site: what all its private Releases together may spend, by its
            ledger (`fedistill.privacy.accounting.budget`).
        non_private: whether Releases without a differential-privacy bound are allowed. Unless given: where there is no
            epsilon_max; a budget that other Releases pass by would bound nothing.
        proximity: whether a screen for copies (`fedistill.privacy.policy.proximity`) is ``off``, warns at the site, or
            makes it refuse. Needs held-out images. Private Releases pass it by: its outcome depends on patients'
            images.
        proximity_quantile: share of real images that the screen would accuse.
        scores: networks of a study that a deployed site scores on its own images, with noise that its budget pays for
            (`fedistill.privacy.policy.noisy_scores`); 0: none. A simulation's sites score any number.
        review: whether everything waits at a deployed site until a person there says yes (`fedistill.consent.airlock`).
    """

    allow_real_images: bool = False
    allow_weights: bool = False
    start: Literal["noise", "mean", "real"] = "noise"
    allow_soft_labels: bool = False
    min_class_size: NonNegativeInt = 1
    max_ipc: Count | None = None
    max_releases: NonNegativeInt | None = None
    smallest_batch: Count = 1
    smallest_cluster: Count = 1
    fewest_iterations: Count = 1
    encoding: Literal["uint8", "any"] = "any"
    models: Annotated[tuple[Annotated[str, known("model", MODELS)], ...], AS_TUPLE] = ()
    widths: Annotated[tuple[Count, ...], AS_TUPLE] = ()
    share_counts: Counts = "exact"
    epsilon_max: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    non_private: Literal["allow", "refuse"] | None = None
    proximity: Literal["off", "warn", "refuse"] = "off"
    proximity_quantile: Annotated[float, Field(ge=0, le=0.5)] = QUANTILE
    scores: Annotated[int, Field(ge=0, le=100_000)] = 0
    review: bool = False

    @property
    def private_only(self) -> bool:
        """Return whether nothing may leave without a differential-privacy bound."""
        return (self.non_private or ("refuse" if self.epsilon_max is not None else "allow")) == "refuse"

    @property
    def limit(self) -> tuple[float, float] | None:
        """Return the budget, (epsilon, delta); None without one."""
        return None if self.epsilon_max is None else (self.epsilon_max, self.delta)

    @property
    def smallest(self) -> int:
        """Return the number of patients or images that a class needs to take part in anything."""
        return max(1, self.min_class_size)

    @property
    def least_in_class(self) -> int:
        """Return the number of patients or images that a class needs to be averaged over without noise."""
        return max(self.smallest, self.smallest_batch)


class SitePolicy(Policy):
    """A deployed site's rules: what its file does not say is safe.

    The figures behind the floors are in ``README.md`` beside this file.
    """

    min_class_size: NonNegativeInt = 48
    max_ipc: Count | None = 12
    max_releases: NonNegativeInt | None = 2
    smallest_batch: Count = 32
    smallest_cluster: Count = 48
    fewest_iterations: Count = 20
    encoding: Literal["uint8", "any"] = "uint8"
    models: Annotated[tuple[Annotated[str, known("model", MODELS)], ...], AS_TUPLE] = ("convnet",)
    widths: Annotated[tuple[Count, ...], AS_TUPLE] = (32, 64, 128)
    share_counts: Counts = "rounded"
    review: bool = True

    @model_validator(mode="after")
    def _of_one_mind(self) -> "SitePolicy":
        require_bound(self)
        if self.private_only and self.allow_real_images:
            raise ValueError(
                "allow_real_images = true lets patients' images out, and the same rules let nothing out without a "
                "differential-privacy bound: take one of them away"
            )
        return self


def require_bound(policy: Policy) -> None:
    """Raise ValueError where a policy refuses what has no privacy bound and sets no bound itself."""
    if policy.non_private == "refuse" and policy.epsilon_max is None:
        raise ValueError(
            'non_private = "refuse" needs an epsilon_max: without one any epsilon would do, 1000 too, which bounds '
            "nothing. Write one, such as epsilon_max = 8.0"
        )


@dataclass(frozen=True)
class PolicyRequest:
    """The request, as far as it is known before any work.

    Args:
        scheme: its name; sends: what the site would send.
        real: whether the images are patients' own.
        starts: where the budgets' synthetic images would start from.
        soft: whether the images have soft labels.
        per_class: images of a class that would leave at most; None: as many as there are. Not looked at for networks.
        private: whether there is a differential-privacy bound; costs: what it would spend, each set of answers once.
        held_out: whether the site has set images aside.
        settings: the method's settings that floors apply to; None if they are not known yet, or there are none.
        networks: that are scored in all.
    """

    scheme: str
    sends: Literal["images", "networks", "scores"] = "images"
    real: bool = False
    starts: frozenset[str] = frozenset()
    per_class: int | None = 0
    private: bool = False
    costs: tuple[PrivacyCost, ...] = ()
    held_out: bool = True
    settings: MethodSettings | None = None
    soft: bool = False
    networks: int = 0


@dataclass(frozen=True)
class Objection:
    """Why a policy forbids something.

    Args:
        rule: its name; does: what it forbids, of the scheme; mend: how it would be allowed, or done otherwise.
    """

    rule: str
    does: str
    mend: str


def objection(policy: Policy, request: PolicyRequest) -> Objection | None:
    """Return the first rule that forbids a request; None if all allow it.

    >>> objection(Policy(), PolicyRequest("full", real=True, per_class=None)).rule
    'allow_real_images'
    >>> objection(Policy(), PolicyRequest("dc", starts=frozenset({"noise"}), per_class=10)) is None
    True
    """
    images = request.sends == "images"
    if request.real and not policy.allow_real_images:
        return Objection("allow_real_images", "sends real images", _written("allow_real_images = true"))
    if request.sends == "scores" and request.networks > policy.scores:
        does = f"scores {request.networks} networks on patients' images, more than {policy.scores}"
        return Objection("scores", does, _written(f"scores = {request.networks}"))
    if request.sends == "networks" and not policy.allow_weights:
        return Objection("allow_weights", "sends networks", _written("allow_weights = true"))
    told = [start for start in request.starts if TELLS.index(_as_rule(start)) > TELLS.index(policy.start)]
    if told:
        start = max(told, key=lambda each: TELLS.index(_as_rule(each)))
        mend = f'set scheme.{request.scheme}.start = "noise", or ' + _written(f'start = "{_as_rule(start)}"')
        words = {"real": "starts from real images", "mean": "starts from means of real images"}
        return Objection("start", words.get(start, "starts from draws that are fitted to real images"), mend)
    if request.soft and not policy.allow_soft_labels:
        does = "sends soft labels, which come from networks trained on patients' images and tell of them"
        mend = f'set scheme.{request.scheme}.labels = "hard", or ' + _written("allow_soft_labels = true")
        return Objection("allow_soft_labels", does, mend)
    if policy.private_only and not request.private:
        rule = "epsilon_max" if policy.non_private is None else "non_private"
        does = "has no differential-privacy bound"
        return Objection(rule, does, "take a private scheme, or " + _written('non_private = "allow"'))
    if request.settings is not None and (
        low := below_floor(policy, request.settings, bounded=request.private or request.real)
    ):
        return Objection(*low)
    if images and policy.max_ipc is not None and (request.per_class is None or request.per_class > policy.max_ipc):
        many = "all images" if request.per_class is None else f"up to {request.per_class} images"
        return Objection("max_ipc", f"sends {many} of a class, more than {policy.max_ipc}", "lower ipc")
    if images and policy.share_counts != "exact" and request.per_class is None:
        does = "sends as many images as there are, which tells how many"
        return Objection("share_counts", does, _written('share_counts = "exact"'))
    if policy.limit is not None and request.costs:
        epsilon, delta = policy.limit
        if not within(request.costs, epsilon=epsilon, delta=delta):
            does = f"spends more than epsilon {epsilon:g} at delta {delta:g}"
            return Objection("epsilon_max", does, f"lower scheme.{request.scheme}.epsilon")
    screened = images and policy.proximity != "off" and not request.real and not request.private
    if screened and not request.held_out:
        does = "cannot be screened for copies without images set aside"
        return Objection("proximity", does, "write `held_out = 0.2` into the federation file")
    return None


def check_request(policy: Policy, request: PolicyRequest) -> None:
    """Refuse before any work what could not be sent afterwards.

    Raises:
        PolicyError: names the rule.
    """
    forbidden = objection(policy, request)
    if forbidden is not None:
        raise PolicyError(f"The site's policy forbids {request.scheme!r}: it {forbidden.does} (rule {forbidden.rule}).")


def check_weights(
    policy: Policy, *, scheme: str, private: bool = False, settings: MethodSettings | None = None
) -> None:
    """Refuse to train what could not be sent.

    Args:
        policy: the site's rules.
        scheme: the scheme's name.
        private: whether every step is under a differential-privacy bound.
        settings: the shape that the networks would have.

    Raises:
        PolicyError: names the rule.
    """
    check_request(policy, PolicyRequest(scheme, sends="networks", private=private, settings=settings))


def _as_rule(start: str) -> str:
    """Return the level of the rule ``start`` that a method's start needs."""
    return start if start in ("noise", "real") else "mean"


def _written(line: str) -> str:
    return f"write `[policy]` with `{line}` into the federation file"
