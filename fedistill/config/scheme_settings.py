"""Schemes: what a site can share. Images by the methods of `fedistill.methods`; weights; predictions' makers; nothing.

- images: every method by its name, and ``central-METHOD``: the same method with all sites' data in one place.
- rounds: ``fedavg`` (McMahan et al., AISTATS 2017, arXiv 1602.05629) and ``fedprox`` (Li et al., MLSys 2020, arXiv
  1812.06127), weights back and forth, round after round.
- ``local``: nothing; each site trains alone. ``ensemble``: the same networks, shared once, their predictions averaged
  (one-shot federated learning, Guha et al., arXiv 1902.11175). ``join``: a site's own images plus the others' Releases.
- ``dpsgd-local``, ``dpsgd-ensemble``, ``dp-fedavg``: ``local``, ``ensemble`` and ``fedavg`` with every step at a site
  differentially private (DP-SGD, Abadi et al., CCS 2016, arXiv 1607.00133): what private images are held against.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from fedistill.config.base import Frozen
from fedistill.data.facts import FACTS
from fedistill.errors import SettingError, nearest
from fedistill.methods import METHODS, settings_for
from fedistill.methods.private.queries import PrivateSettings
from fedistill.training.dpsgd import DPSGD

Kind = Literal["images", "central", "rounds", "local", "ensemble", "join"]

CENTRAL = "central-"

SEVERAL_LABELS = {name for known in FACTS.values() if known.multilabel for name in (known.name, known.phantom)}
"""Multi-label sets that are known by name; a file by path is seen to be one when it is read."""

EVERYONE = "(everyone)"
"""What a site that had all sites' data would be called; it exists in simulations alone. No site can be called so: names
begin with a letter or digit.
"""


class NothingToSet(Frozen):
    """The settings of a scheme that has none."""


class RoundsSettings(Frozen):
    """Settings of every scheme with rounds.

    Args:
        rounds: budgets, as ipc is one of images: a line of the table for each.
        fraction: of the sites that take part in a round, at least one; drawn from the simulation's seed.
    """

    rounds: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (1, 5, 20)
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("rounds", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else value

    @field_validator("rounds")
    @classmethod
    def _in_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"needs at least one number of rounds, each once, not {list(value)}")
        return tuple(sorted(value))


class FedAvgSettings(RoundsSettings):
    """Settings of federated averaging.

    Args:
        local_epochs: passes over its own images that a site makes in a round.
    """

    local_epochs: Annotated[int, Field(ge=1)] = 1


class FedProxSettings(FedAvgSettings):
    """Settings of federated averaging with a proximal term.

    Args:
        mu: weight of the squared distance to the round's global weights, halved, in a site's loss.
    """

    mu: Annotated[float, Field(gt=0)] = 0.1


class PrivateTraining(Frozen):
    """Settings of every scheme whose sites train under differential privacy.

    None of them is chosen by validation images: these are patients' too, and the bound does not cover them.

    Args:
        epsilon, delta: what a site's network may spend of its images' privacy, all steps and rounds together. Keep
            delta well below one over the number of a site's images.
        clip: norm that the gradient of one image, or of all images of one patient where these say whose they are, is
            scaled down to.
        rate: chance of an image (or a patient) to be in a step's sample.
        lr, momentum: of the SGD; the step size does not fall.
        accountant: ``pld`` (tight) or ``rdp``.
    """

    epsilon: Annotated[float, Field(gt=0, le=1000)] = 10.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip: Annotated[float, Field(gt=0)] = 1.0
    rate: Annotated[float, Field(gt=0, le=1)] = 0.25
    lr: Annotated[float, Field(gt=0)] = 0.5  # see PrivateAloneSettings
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    accountant: Literal["pld", "rdp"] = "pld"

    def of_steps(self, steps: int) -> DPSGD:
        """What a site is told, where the budget is for so many steps."""
        return DPSGD(
            self.epsilon, self.delta, self.clip, self.rate, steps, self.lr, self.momentum, accountant=self.accountant
        )


class PrivateAloneSettings(PrivateTraining):
    """Settings of sites that train alone under differential privacy.

    Args:
        steps: of DP-SGD.
    """

    # PneumoniaMNIST, 941 images, width 32, validation AUC (balanced accuracy) of one network at epsilon 10: 97.9
    # (91.9); lr 2: 98.0 (92.8); momentum 0.9, lr 0.1: 97.8 (91.3). At epsilon 1: 96.0 (76.2); lr 2: 93.0 (66.9).
    steps: Annotated[int, Field(ge=1, le=100_000)] = 40

    @property
    def private(self) -> DPSGD:
        return self.of_steps(self.steps)


class DPFedAvgSettings(PrivateTraining, RoundsSettings):
    """Settings of federated averaging whose local steps are differentially private.

    Args:
        rounds: the budget is for the largest number; a line of fewer rounds has spent less.
        local_steps: of DP-SGD that a site takes in a round.
    """

    # Four such sites, epsilon 10: 98.0 (92.7). Epsilon 1: 96.8 (78.5); lr 0.5: 97.1 (64.7).
    rounds: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (10,)
    local_steps: Annotated[int, Field(ge=1, le=10_000)] = 3
    lr: Annotated[float, Field(gt=0)] = 1.0

    @property
    def private(self) -> DPSGD:
        return self.of_steps(self.rounds[-1] * self.local_steps)


class JoinSettings(Frozen):
    """Settings of a site that trains on its own images and the others' Releases.

    Args:
        of: the scheme whose Releases the others send; one of the simulation's.
        share: of the images it trains on that are the others', each repeated as often as that takes; 0 for as they are.
    """

    of: str = "dc"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.25


@dataclass(frozen=True)
class Scheme:
    """What is known of a scheme by its name alone.

    Args:
        method: of `fedistill.methods`, where it makes images.
        settings: of schemes that make none.
    """

    name: str
    kind: Kind
    summary: str
    method: str | None = None
    settings: type[Frozen] = NothingToSet

    @property
    def real(self) -> bool:
        """Whether sites send real patients' images."""
        return self.method is not None and METHODS[self.method].real

    @property
    def private(self) -> bool:
        """Whether what sites send is differentially private."""
        chosen = self.settings if self.method is None else METHODS[self.method].settings
        return issubclass(chosen, PrivateSettings | PrivateTraining)

    @property
    def weights(self) -> bool:
        """Whether sites send networks. Those of ``local`` and ``join`` would stay where they are; a simulation's server
        gets them only to score them on the official test split.
        """
        return self.kind in ("rounds", "local", "ensemble", "join")

    @property
    def budget(self) -> bool:
        """Whether it has a line of the table for every ipc."""
        return self.kind == "join" or (self.method is not None and METHODS[self.method].budget)

    @property
    def shared_by_sites(self) -> bool:
        """Whether each site makes a Release of its own, for the pool."""
        return self.kind == "images"

    def read(self, values: Mapping[str, Any]) -> Any:
        """Its settings from what a file gives, for schemes that make no images.

        Raises:
            SettingError: an unknown name, or a value of the wrong type or out of range.
        """
        try:
            return self.settings.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                known = list(self.settings.model_fields)
                mend = nearest(where, known) if known else "leave it out: there is nothing to set"
                raise SettingError(f"{self.name}: there is no setting {where!r}.", mend=mend) from error
            raise SettingError(
                f"{self.name}: {where} cannot be {first['input']!r}.",
                expected=first["msg"].removeprefix("Value error, "),
                found=repr(first["input"]),
            ) from error


_OTHERS = {
    "fedavg": Scheme("fedavg", "rounds", "weights averaged every round (arXiv 1602.05629)", settings=FedAvgSettings),
    "fedprox": Scheme("fedprox", "rounds", "fedavg with a proximal term (arXiv 1812.06127)", settings=FedProxSettings),
    "dp-fedavg": Scheme("dp-fedavg", "rounds", "fedavg, differentially private", settings=DPFedAvgSettings),
    "local": Scheme("local", "local", "nothing: each site trains alone"),
    "ensemble": Scheme("ensemble", "ensemble", "local networks, sent once, their predictions averaged"),
    "dpsgd-local": Scheme(
        "dpsgd-local", "local", "nothing: each site trains alone, differentially private", settings=PrivateAloneSettings
    ),
    "dpsgd-ensemble": Scheme(
        "dpsgd-ensemble",
        "ensemble",
        "private local networks, sent once, their predictions averaged",
        settings=PrivateAloneSettings,
    ),
    "join": Scheme("join", "join", "a site's own images plus the others' Releases", settings=JoinSettings),
}


def scheme_names() -> list[str]:
    """Every name a simulation's ``[scheme.NAME]`` may have."""
    distilling = [name for name, method in METHODS.items() if not method.real]
    return [*METHODS, *_OTHERS, *[f"{CENTRAL}{name}" for name in distilling]]


def scheme_named(name: str) -> Scheme:
    """The scheme of this name.

    Raises:
        SettingError: there is none.

    >>> scheme_named("central-dc").method, scheme_named("fedavg").weights
    ('dc', True)
    """
    if name not in scheme_names():
        raise SettingError(f"there is no scheme {name!r}", mend=nearest(name, scheme_names()))
    if name in _OTHERS:
        return _OTHERS[name]
    method = name.removeprefix(CENTRAL)
    if name != method:
        return Scheme(name, "central", f"{method} with all sites' data in one place, as many images in all", method)
    return Scheme(name, "images", METHODS[method].summary, method)


def check_settings(
    scheme: Scheme, values: Mapping[str, Any], *, budgets: Iterable[int | None], datasets: Iterable[str]
) -> list[Any]:
    """The settings of every budget and data set.

    Raises:
        SettingError: one of them cannot be, or the method does not work on one of the sets.
    """
    if scheme.method is None:
        return [scheme.read(values)]
    datasets = list(datasets)
    several = [name for name in datasets if name in SEVERAL_LABELS]
    if several and not METHODS[scheme.method].multilabel:
        raise SettingError(
            f"{scheme.name} does not work on multi-label sets.", expected="one label an image", found=several[0]
        )
    return [settings_for(scheme.method, values, ipc=ipc, dataset=dataset) for ipc in budgets for dataset in datasets]
