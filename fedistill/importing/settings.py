"""The choices of an import."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fedistill.core.ranges import Range
from fedistill.core.settings import checked_table
from fedistill.importing.listing.tables import Columns
from fedistill.importing.preprocessing import Preprocessing
from fedistill.importing.splitting import Shares


@dataclass(frozen=True)
class ImportSettings:
    """The choices of an import.

    Args:
        preprocessing: of every picture; ``channels`` None keeps grey images grey and colour images RGB.
        columns: of a table.
        images: folder that a table's paths start from; default its own.
        classes: class names in the order of their labels; default sorted.
        leave_out: classes that are not imported.
        shares: of the splits that are drawn.
        new_splits: draw splits though some are given.
        seed: of the splits, and of the choice on the contact sheet.
        skip: share of files that may be unreadable; None for 1 %.
        salt: file of the hospital's salt; default the user's own.
        threads: that decode.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    columns: Columns = field(default_factory=Columns)
    images: Path | None = None
    classes: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    shares: Shares = field(default_factory=Shares)
    new_splits: bool = False
    seed: int = 0
    skip: Annotated[float, Range(ge=0, lt=1)] | None = None
    salt: Path | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        checked_table(type(self), vars(self), "an import")
