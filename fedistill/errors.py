"""Every error FeDistill raises on purpose. A message says what was expected, what was found and how to fix it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class FedistillError(Exception):
    """Anything FeDistill raises on purpose. ``exit_code`` is what the command line ends with."""

    exit_code = 1

    def __init__(self, what: str, *, expected: Any = None, found: Any = None, mend: str | None = None) -> None:
        parts = (("expected", expected), ("found", found), ("fix", mend))
        lines = [what, *(f"  {label}: {value}" for label, value in parts if value is not None)]
        super().__init__("\n".join(lines))
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders between Ray workers; keep the finished message, not the keyword arguments.
        return (_rebuild, (type(self), str(self)))


def _rebuild(kind: type[FedistillError], message: str) -> FedistillError:
    return kind(message)


class UserError(FedistillError):
    """A mistake in what the user typed, wrote or pointed at. Raised before any work starts."""

    exit_code = 2


class DataError(UserError):
    """A data set that cannot be read, or is not what it should be."""


class PlanError(UserError):
    """A federation or simulation file that cannot be carried out."""


class RunFolderError(UserError):
    """A run folder that belongs to something else, or is in use."""


class SettingError(UserError, ValueError):
    """A value handed to a function of the Python interface that it cannot take."""


class ReleaseError(FedistillError):
    """A Release that is malformed or breaks what the simulation allows; the server refuses it."""


class PolicyError(FedistillError):
    """A site's own policy forbids what was asked; the site refuses."""


class LedgerError(PolicyError):
    """A site's ledger cannot be read, trusted or written: the site refuses, for it cannot tell what it has spent."""

    exit_code = 2


class RunError(FedistillError):
    """The run could not be finished."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known word, or lists them all.

    >>> nearest("dirichelt", ["iid", "dirichlet"])
    "did you mean 'dirichlet'? Known: dirichlet, iid"
    >>> nearest("zzz", ["iid", "dirichlet"])
    'choose one of: dirichlet, iid'
    """
    known = sorted(known)
    match = get_close_matches(name, known, n=1, cutoff=0.5)
    everything = ", ".join(known[:40]) + (f" and {len(known) - 40} more" if len(known) > 40 else "")
    return f"did you mean {match[0]!r}? Known: {everything}" if match else f"choose one of: {everything}"
