"""``partition``: the rule by which the sites of a federation divide what there is, checked when its file is read.

What each rule does: `fedistill.data.partition`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_serializer

from fedistill.core.settings import Frozen
from fedistill.data.partition import LARGEST_ALPHA


def _number(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most


def _alpha(value: Any) -> Any:
    each = value if isinstance(value, list | tuple) else [value]
    if not each or not all(_number(a, LARGEST_ALPHA) for a in each):
        raise ValueError(
            f"a number above 0 and at most {LARGEST_ALPHA:,.0f}, which makes shares as good as equal, or a list of "
            f"such numbers, one for every site; not {str(value)[:100]}"
        )
    return tuple(value) if isinstance(value, list | tuple) else value


def _sizes(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value or not all(_number(s, 2**63) for s in value):
        raise ValueError(f"a list of fractions of the whole, or of counts, one for every site; not {str(value)[:100]}")
    if not all(isinstance(s, int) for s in value) and sum(value) > 1 + 1e-9:
        raise ValueError(f"fractions of the whole, together at most 1; not {str(value)[:100]}")
    return tuple(value)


Count = Annotated[int, Field(ge=1, lt=2**31)]


class PartitionRule(Frozen):
    """The settings that all rules have.

    Args:
        seed: of who holds what.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        """Dump the keys of the file and no others: a run folder's simulation.toml is compared by its text."""
        return {name: getattr(self, name) for name in self._names() if name in self.model_fields_set}

    def described(self) -> dict[str, Any]:
        """Return the rule as `fedistill.data.partition.partition` takes it, without the seed."""
        given = {name: getattr(self, name) for name in self._names() if name in self.model_fields_set - {"seed"}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def require_sites(self, sites: int) -> None:
        """Raise ValueError where it gives a list of another length than there are sites."""
        for name, value in self.described().items():
            if isinstance(value, list) and len(value) != sites:
                raise ValueError(f"partition.{name} has {len(value)} values, and there are {sites} sites")

    @classmethod
    def _names(cls) -> list[str]:
        return [*(name for name in cls.model_fields if name != "seed"), "seed"]


class ByNothingElse(PartitionRule):
    """Equal shares, or shares that grow from site to site."""

    by: Literal["iid", "linear", "square", "exponential"]


class ByDirichlet(PartitionRule):
    """Unequal class mixes.

    Args:
        alpha: small for unlike sites; one for all, or one for every site, in whose proportion they hold images.
        min_size: images that every site holds at least.
    """

    by: Literal["dirichlet"]
    alpha: Annotated[Any, PlainValidator(_alpha)]
    min_size: Count | None = None


class ByClasses(PartitionRule):
    """Missing classes: each site has so many."""

    by: Literal["pathological"]
    classes: Count


class ByShards(PartitionRule):
    """Unequal class mixes: so many shards of label-sorted images each."""

    by: Literal["shards"]
    shards: Count


class BySizes(PartitionRule):
    """Unequal sizes: a fraction of the whole, or a count, for every site."""

    by: Literal["sizes"]
    sizes: Annotated[Any, PlainValidator(_sizes)]


Partition = Annotated[ByNothingElse | ByDirichlet | ByClasses | ByShards | BySizes, Field(discriminator="by")]
IID = ByNothingElse(by="iid")
