"""A count of a ledger's lines, kept apart from it: a ledger that lost its end, or was deleted, is noticed.

The counter is written after each line. Of a process that dies between the two, the ledger has one line more than are
counted, which is as it should be; one line fewer is not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedistill.core.files import PRIVATE_FILE, write_atomic
from fedistill.errors import LedgerError
from fedistill.privacy.accounting.ledger_lines import Entry

MADE_OF_PATIENTS = ("synthetic", "noisy", "answer", "alone", "round")
"""Kinds of files in a site's store that are made of patients' images."""


def counter_of(store: Path) -> Path:
    """Return the path of the counter in a site's store."""
    return store / "ledger.count"


@dataclass(frozen=True)
class Counter:
    """The counter at a path.

    Args:
        path: in the site's store.
        ledger: the path of the ledger that it counts.
    """

    path: Path
    ledger: Path

    def write(self, lines: int, chain: str) -> None:
        """Keep the number of lines and the chain of the last."""
        write_atomic(self.path, json.dumps({"lines": lines, "chain": chain}) + "\n", mode=PRIVATE_FILE)

    def require(self, entries: Sequence[Entry]) -> None:
        """Refuse a ledger with fewer lines than were counted, or others.

        Raises:
            LedgerError: it is cut, deleted or replaced, or the counter cannot be read.
        """
        if not self.path.exists():
            if entries:
                raise self._error(
                    "The counter of the ledger's lines is missing.",
                    expected=self.path,
                    found=f"a ledger of {len(entries)} lines",
                )
            kept = [kind for kind in MADE_OF_PATIENTS if any((self.path.parent / kind).glob("*.safetensors"))]
            if kept:
                raise self._error(
                    "The site's store holds what was made of its images, and its ledger is missing.",
                    expected="the ledger that was kept with this store",
                    found=f"{self.path.parent / kept[0]}",
                )
            return
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            lines, chain = int(said["lines"]), str(said["chain"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._error(f"The ledger's counter {self.path} cannot be read.", found=error) from error
        if len(entries) < lines:
            what = "The ledger has lost its end." if entries else "The ledger is missing or empty."
            raise self._error(what, expected=f"{lines} lines", found=len(entries))
        if lines and entries[lines - 1].chain != chain:
            raise self._error("This is not the ledger that was counted.", found=f"another line {lines}")
        if len(entries) > lines + 1:
            raise self._error(
                "The ledger has lines that were not counted.", expected=f"{lines} lines", found=len(entries)
            )

    def _error(self, what: str, *, expected: object = None, found: object = None) -> LedgerError:
        return LedgerError(
            f"{what} Nothing is released.",
            expected=expected,
            found=found,
            mend=f"put {self.ledger.name} and {self.path.name} back as they were kept together; what was spent and "
            "what has left cannot be known without them",
        )
