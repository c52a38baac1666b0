"""Sets combined in one label space, as a federation's file names them."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import model_validator

from fedistill.core.ranges import AS_TUPLE
from fedistill.core.settings import Frozen
from fedistill.data import parse_source
from fedistill.data.combine import LabelSpace, label_space, parts_of
from fedistill.errors import DataError, nearest


class Combine(Frozen):
    """Several sets in one label space; see `fedistill.data.combine`.

    Args:
        classes: whole sets (``organamnist``) or single classes (``pathmnist:adipose``), in the order of the labels.
        by_name: whether classes of one name are one class, whichever set they are from.
    """

    classes: Annotated[tuple[str, ...], AS_TUPLE]
    by_name: bool = False

    @model_validator(mode="after")
    def _possible(self) -> "Combine":
        if all(parse_source(name).path is None for name in self.sets()):  # a user's own file is read with its data
            try:
                self.space()
            except DataError as error:
                raise ValueError(str(error)) from error
        return self

    def sets(self) -> list[str]:
        """Return the sets, in the order of their first mention."""
        return list(dict.fromkeys(parts_of(entry)[0] for entry in self.classes))

    def space(self) -> LabelSpace:
        """Return the label space.

        Raises:
            DataError: an unknown set or class, or one that cannot be combined.
        """
        return label_space(self.classes, by_name=self.by_name)

    def require_brought(self, brought: Mapping[str, str]) -> None:
        """Raise ValueError unless sites bring these sets, all of them and no other.

        Args:
            brought: each site's set.
        """
        listed = self.sets()
        for site, name in brought.items():
            if name not in listed:
                hint = nearest(name, listed)
                raise ValueError(f"site.{site} brings {name}, of which combine.classes has no class: {hint}")
        unheld = [name for name in listed if name not in brought.values()]
        if unheld:
            raise ValueError(f"combine.classes has classes of {unheld[0]}, which no site brings")
