"""A federation: the sites of one file in ``sites/``, and the data they divide or bring."""

import re
import unicodedata
from collections import Counter
from typing import Annotated, Any

from pydantic import Field, field_serializer, field_validator, model_validator

from fedistill.config.combined import Combine
from fedistill.config.partition_rule import IID, Partition
from fedistill.core.ranges import AS_TABLE
from fedistill.core.settings import Frozen
from fedistill.core.text import printable
from fedistill.data import parse_source
from fedistill.data.facts import LEAST_SIZE
from fedistill.data.scanner import Scanner
from fedistill.errors import nearest
from fedistill.privacy.policy.rules import Policy, require_bound

MOST_SITES = 10_000

_NAME = re.compile(r"\w[\w .-]{0,62}(?<![ .])", re.UNICODE)


def require_name(name: str, what: str) -> str:
    """Return a name that can name a file and a folder too; raise ValueError for any other."""
    composed = unicodedata.normalize("NFC", name)
    if composed != name and _NAME.fullmatch(composed):
        raise ValueError(
            f"{name!r} cannot name {what}: some of its letters are written as a letter and a mark after it, which "
            f"looks the same and is another name. Write it anew, as {composed!r}"
        )
    if not _NAME.fullmatch(name) or len(name.encode()) > 128:
        raise ValueError(
            f"{name!r} cannot name {what}: letters, digits, spaces, '-', '_' and '.' only, at most 63 (128 bytes), "
            "starting with a letter or digit"
        )
    return name


class Site(Frozen):
    """The settings of one hospital.

    Args:
        cpus, gpus: what each of its jobs may use.
        memory_gb: memory Ray sets aside for each of its jobs.
        threads: torch threads a job; they change the last bits of sums, so they belong to the site.
        dataset: its own data set, where sites do not divide one.
        scanner: what its device makes of all images it holds; left out, they stay as published.
        policy: rules of its own, in the place of the federation's; those not given are the federation's.
    """

    cpus: Annotated[float, Field(gt=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    dataset: str | None = None
    scanner: Annotated[Scanner, AS_TABLE] | None = None
    policy: Policy | None = None

    @field_serializer("policy")
    def _those_given(self, value: Policy | None) -> dict[str, Any] | None:
        """Read again, what was not given must not stand over the federation's rules."""
        return None if value is None else value.model_dump(mode="json", exclude_unset=True)


AS_IT_COMES = Site()
"""A site without settings of its own."""


class Federation(Frozen):
    """The sites and the data that they divide or bring.

    Args:
        name: for people; the file's name unless given.
        dataset: the data set that the sites divide: ``breastmnist``, ``phantom:blood``, or a path to an .npz.
        combine: in its place, several sets in one label space. The sites divide them all, or each brings one of them,
            its ``dataset``, and holds that set's images of these classes.
        size: image height and width in pixels, for MedMNIST sets (28, 64, 128, 224) and phantoms.
        images, data_seed: of a phantom: training images and seed.
        partition: ``by``, that rule's options and ``seed``; see `fedistill.config.partition_rule`,
        `fedistill.data.partition`.
        sites: their names; a number N stands for site-1 to site-N.
        site: settings of single sites, by name.
        held_out: share of each site's training images set aside before anything is made of them.
        policy: what every site lets out; a site's own rules go over it.
    """

    name: str
    dataset: str | None = None
    combine: Combine | None = None
    size: Annotated[int, Field(ge=LEAST_SIZE, le=1024)] | None = None
    images: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    data_seed: int | None = None
    partition: Partition = IID
    sites: tuple[str, ...]
    site: dict[str, Site] = Field(default_factory=dict)
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    policy: Policy = Policy()

    @field_validator("name")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value or printable(value) != value:
            raise ValueError(f"{value[:80]!r} cannot name a federation: one line of printable characters, at most 300")
        return value

    @field_validator("sites", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value <= MOST_SITES:
            return tuple(f"site-{i + 1}" for i in range(value))
        return tuple(value) if isinstance(value, list) else value

    @field_validator("sites")
    @classmethod
    def _fit_for_files(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("a federation needs at least one site")
        if len(value) > MOST_SITES:
            raise ValueError(f"at most {MOST_SITES:,} sites, not {len(value):,}")
        for name in value:
            require_name(name, "a site")
        counted = Counter(name.casefold() for name in value)
        twice = sorted({name for name in value if counted[name.casefold()] > 1})
        if twice:
            raise ValueError(f"every site needs a name of its own (case aside); more than one is called {twice}")
        return value

    @model_validator(mode="after")
    def _whose_data(self) -> "Federation":
        strangers = sorted(set(self.site) - set(self.sites))
        if strangers:
            raise ValueError(f"[site.{strangers[0]}] is none of the sites: {nearest(strangers[0], self.sites)}")
        own = [name for name in self.sites if self.of(name).dataset is not None]
        for_all = self.dataset is not None or self.combine is not None
        if self.dataset is not None and self.combine is not None:
            raise ValueError("`dataset` and `combine` both name data for all sites: give one or the other")
        if self.dataset is not None and own:
            raise ValueError(f"{own} have a dataset of their own beside the one all divide: give one or the other")
        if len(own) < len(self.sites) and (own or not for_all):
            lacking = [name for name in self.sites if name not in own]
            raise ValueError(f"no data for {lacking}: give `dataset` for all, or one in each site's table")
        brought = self._brought()
        if len(set(brought)) < len(brought):
            raise ValueError("two sites bring the same data set: let them divide it with `dataset` and `partition`")
        for name in self.sites if self.site else self.sites[:1]:
            require_bound(self.policy_of(name))
        if self.combine is not None and own:
            self.combine.require_brought(dict(zip(own, brought, strict=True)))
        if self.divided:
            self.partition.require_sites(len(self.sites))
        return self

    @property
    def divided(self) -> bool:
        """Return whether the sites divide all data by a rule; else each brings a set of its own."""
        return not self._brought()

    def datasets(self) -> list[str]:
        """Return the data set that all divide, those combined, or each site's own in the order of the sites."""
        if self.dataset is not None:
            return [self.dataset]
        return self._brought() or (self.combine.sets() if self.combine is not None else [])

    def _brought(self) -> list[str]:
        """Return each site's own data set; empty if the sites divide one."""
        return [parse_source(each).name for name in self.sites if (each := self.of(name).dataset) is not None]

    def of(self, name: str) -> Site:
        """Return a site's settings."""
        return self.site.get(name, AS_IT_COMES)

    def policy_of(self, name: str) -> Policy:
        """Return a site's rules: the federation's, overridden by its own.

        All sites' data at one place are nobody's to let out: there, only where images start from is ruled.
        """
        if name not in self.sites:
            return Policy(allow_real_images=True, allow_weights=True, start=self.policy.start)
        own = self.of(name).policy
        given = {} if own is None else {rule: getattr(own, rule) for rule in own.model_fields_set}
        return self.policy.model_copy(update=given)
