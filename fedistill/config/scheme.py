"""A scheme: one way for sites to share, or not to. What a file, a policy and a table need to know of it.

What a scheme does, at the server, at a site, in a forecast and in an audit, is one file in `fedistill.schemes`, whose
objects are all `fedistill.schemes.base.StudyScheme`. They are found by name: here by `BUILT_IN`, or where another
installed package offers them as entry points of the group ``fedistill.schemes``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from fedistill.core.settings import Frozen, checked
from fedistill.errors import SettingError, nearest
from fedistill.methods import METHODS, method_of
from fedistill.privacy.accounting.guarantee import PrivacyGuarantee
from fedistill.privacy.policy.rules import PolicyRequest

if TYPE_CHECKING:
    from fedistill.config.simulation import Simulation
    from fedistill.consent.items import Item

BUILT_IN = {
    "fedavg": "fedistill.schemes.rounds:FEDAVG",
    "fedprox": "fedistill.schemes.fedprox:FEDPROX",
    "fedadam": "fedistill.schemes.fedadam:FEDADAM",
    "dp-fedavg": "fedistill.schemes.dp_fedavg:DP_FEDAVG",
    "local": "fedistill.schemes.local:LOCAL",
    "ensemble": "fedistill.schemes.local:ENSEMBLE",
    "dpsgd-local": "fedistill.schemes.local:DPSGD_LOCAL",
    "dpsgd-ensemble": "fedistill.schemes.local:DPSGD_ENSEMBLE",
    "join": "fedistill.schemes.join:JOIN",
    "tdm-rounds": "fedistill.schemes.image_rounds:TDM_ROUNDS",
}
"""Schemes that are more than one distillation, by name. Each method is a scheme by its own name."""

CENTRAL = "central-"
"""Prefix of a method's name: the same method with all sites' data in one place."""

EVERYONE = "(everyone)"
"""The site that holds all sites' data, for ``central-`` schemes of a simulation. No site can take this name: names
begin with a letter or digit.
"""

GROUP = "fedistill.schemes"
"""Entry points by which other packages offer schemes."""


class NoSchemeSettings(Frozen):
    """The settings of a scheme that has none."""


class Scheme(ABC):
    """A way for sites to share.

    Args:
        name: as in ``[scheme.NAME]``.
        summary: one line, for lists.
        settings: class of its settings, where it is no distillation method.

    Attributes:
        method: the distillation method by which sites make a Release; None where they make none.
        real: sites send real patients' images.
        trains_at_sites: sites train networks. Those of ``local`` and ``join`` would stay where they are; a simulation's
            server gets them only to score them on the official test split.
        pools_releases: every site makes a Release of its own, for a pool.
        has_budget: it has a condition for each number of images per class (ipc).
        has_rounds: it has a condition for each number of rounds.
        weighs_sites: sites count in proportion to the images they say they hold.
        one_place: its data are in one place to begin with: nothing is shared.
        of_each_site: every site has networks of its own.
        request: type of the requests that `answer` takes.
        attackable: what it sends is what one site makes of its own images, so an audit can attack it.
        unattacked: why an audit cannot, in words after its name.
        simulated: it runs in simulations only, where no hospital's agreement is needed; the reason, in words.
    """

    request: type
    method: str | None = None
    real = False
    trains_at_sites = False
    pools_releases = False
    has_budget = False
    has_rounds = False
    weighs_sites = False
    one_place = False
    of_each_site = False
    attackable = False
    unattacked = "is nothing that one site makes of its own images"
    simulated = ""

    def __init__(self, name: str, summary: str, settings: type[Frozen] = NoSchemeSettings) -> None:
        self.name, self.summary, self.settings = name, summary, settings

    @property
    def private(self) -> bool:
        """True where what sites send is differentially private."""
        return False

    @property
    def settings_under(self) -> str | None:
        """The scheme whose settings this one takes where its own table gives none."""
        return None

    def label(self, budget: str) -> str:
        """Return what it is in a report's sentence, at a budget in words."""
        return f"{self.summary} ({self.name}, {budget})"

    def sites(self, sites: Sequence[str]) -> Sequence[str]:
        """Return who takes part, of a federation's sites."""
        return (EVERYONE,) if self.one_place else sites

    def rounds(self, values: Mapping[str, Any]) -> tuple[int | None, ...]:
        """Return the numbers of rounds that have a condition each; None alone for a scheme without rounds."""
        return (None,)

    def read(self, values: Mapping[str, Any]) -> Any:
        """Return its settings from what a file gives, for schemes that are no distillation method.

        Raises:
            SettingError: an unknown name, or a value of the wrong type or out of range.
        """
        return checked(self.settings, dict(values), self.name)

    def check(
        self, values: Mapping[str, Any], *, budgets: Iterable[int | None], datasets: Iterable[str]
    ) -> Sequence[Any]:
        """Return the settings of every budget and data set.

        Raises:
            SettingError: one of them cannot be, or the scheme does not work on one of the sets.
        """
        return [self.read(values)]

    def written_out(self, values: Mapping[str, Any], *, budgets: Sequence[int | None]) -> dict[str, Any]:
        """Return the settings with every value written out, as plain values that `check` takes.

        Args:
            values: as a file gives them.
            budgets: the scheme's.
        """
        plain: dict[str, Any] = self.read(values).model_dump(mode="json", exclude_none=True)
        return plain

    def items(self, simulation: "Simulation", site: str) -> Iterator["Item"]:
        """Yield, in a fixed order, everything that a site is asked for in a study under this scheme.

        Args:
            simulation: the study, written out (`fedistill.consent.study`).
            site: its name.
        """
        yield from ()

    def score_items(self, simulation: "Simulation", site: str) -> Iterator["Item"]:
        """Yield, in a fixed order, the scores that a site is asked for under this scheme; none by default."""
        yield from ()

    def check_simulation(self, simulation: "Simulation", settings: Sequence[Any]) -> None:  # noqa: B027 - few need any
        """Raise ValueError where the simulation lacks what the scheme needs."""

    def disclosure(
        self, settings: Sequence[Any], *, ipcs: Sequence[int | None], held_out: bool, costed: bool
    ) -> PolicyRequest:
        """Return what it would have each site send, as policies judge it.

        Args:
            settings: of every budget and data set.
            ipcs: the budgets.
            held_out: whether sites have set images aside.
            costed: whether privacy costs are wanted, which take seconds to work out.
        """
        return PolicyRequest(self.name, sends="networks")

    def guarantee(self, simulation: "Simulation", ipc: int | None, rounds: int | None) -> PrivacyGuarantee | None:
        """Return what one condition guarantees; None for a scheme that is not private."""
        return None

    @abstractmethod
    def answer(self, request: Any, site: Any) -> Any:
        """Carry out a server's request at a site; see `fedistill.schemes.base`."""


def scheme_names() -> list[str]:
    """Return every name that a simulation's ``[scheme.NAME]`` may have, but for variants of methods (`method_of`)."""
    distilling = [name for name, method in METHODS.items() if not method.real]
    return [*METHODS, *BUILT_IN, *_installed(), *[f"{CENTRAL}{name}" for name in distilling]]


def scheme_named(name: str) -> Scheme:
    """Return the scheme of this name.

    Raises:
        SettingError: there is none, or the package that offers it cannot be loaded.

    >>> scheme_named("central-dc").method, scheme_named("fedavg").trains_at_sites
    ('dc', True)
    """
    if name in BUILT_IN:
        return _loaded(BUILT_IN[name])
    if name in METHODS:
        return _loaded("fedistill.schemes.images:image_scheme")(name)
    if name.startswith(CENTRAL) and name in scheme_names():
        return _loaded("fedistill.schemes.images:central_scheme")(name)
    if name in _installed():
        return _offered(name)
    if is_variant(name):
        return _loaded("fedistill.schemes.images:variant_scheme")(name)
    raise SettingError(f"there is no scheme {name!r}", mend=nearest(name, scheme_names()))


def is_variant(name: str) -> bool:
    """Return whether a name is that of a method with a word after it, and no other scheme's.

    >>> is_variant("random-soft"), is_variant("random"), is_variant("central-dc")
    (True, False, False)
    """
    if name in scheme_names():
        return False
    try:
        return bool(method_of(name))
    except SettingError:
        return False


@cache
def _loaded(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _installed() -> Mapping[str, Any]:
    """Return other packages' entry points by name; a name of our own is never theirs."""
    taken = {*METHODS, *BUILT_IN}
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in taken}


@cache
def _offered(name: str) -> Scheme:
    point = _installed()[name]
    package = point.dist.name if point.dist is not None else "an installed package"
    where = f"{package} offers a scheme {name!r} ({point.value})"
    try:
        scheme = point.load()
    except Exception as error:
        mend = f"mend {package}, or uninstall it"
        raise SettingError(f"{where}, which cannot be loaded.", found=error, mend=mend) from error
    if not isinstance(scheme, Scheme) or scheme.name != name:
        raise SettingError(f"{where}, which is none of that name.", expected="a fedistill.schemes.StudyScheme")
    return scheme
