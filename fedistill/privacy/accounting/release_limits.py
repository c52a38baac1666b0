"""Limits on all that leaves a site: Releases, and images per class in those without a privacy bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedistill.errors import PolicyError

if TYPE_CHECKING:
    from fedistill.privacy.accounting.ledger_lines import Entry


@dataclass(frozen=True)
class Leaving:
    """A Release that is about to leave.

    Args:
        item: of the job that it answers; asked again, the same bytes leave again, and count once.
        per_class: images of a class in it; 0 where a privacy budget bounds it, whatever their number.
        most_releases, most_per_class: that may leave in all; None: any number.
    """

    item: str
    per_class: int
    most_releases: int | None
    most_per_class: int | None


def gone_from(entries: Sequence["Entry"]) -> dict[str, "Entry"]:
    """Return the Releases that have left, or may, by their SHA-256: those that a person there rejected never do.

    Networks are entered without an item, under their agreement. A line with neither is from before there was a count,
    and is counted.
    """
    rejected = {str(entry.about.get("sha256")) for entry in entries if entry.kind == "rejected"}
    left = [entry for entry in entries if entry.sha256 and (entry.item or not entry.occasion.agreement)]
    return {entry.sha256: entry for entry in left if entry.sha256 not in rejected}


def require_room(entries: Sequence["Entry"], leaving: Leaving, *, sha256: str | None = None) -> None:
    """Refuse a Release beyond what may leave in all.

    Args:
        entries: of the ledger.
        leaving: the Releases that would leave.
        sha256: of the Release; None while it is not made: then the same job is taken to make the same one.

    Raises:
        PolicyError: names the rule.
    """
    gone = gone_from(entries)
    known = leaving.item in {entry.item for entry in gone.values()} if sha256 is None else sha256 in gone
    if known:
        return
    if leaving.most_releases is not None and len(gone) >= leaving.most_releases:
        raise PolicyError(
            f"The site's policy forbids it: {len(gone)} Releases have left, and {leaving.most_releases} may in all "
            "(rule max_releases)."
        )
    left = sum(entry.per_class for entry in gone.values())
    if leaving.most_per_class is not None and left + leaving.per_class > leaving.most_per_class:
        raise PolicyError(
            f"The site's policy forbids it: {left} images of a class have left, {leaving.per_class} more would, and "
            f"{leaving.most_per_class} may in all (rule max_ipc)."
        )
