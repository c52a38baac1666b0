"""Agreements: a file each beside the site's own, ``agreements/HASH.toml``, with the study whole, who agreed, and when.

The site's ledger has a line for every agreement and revocation, with the file's SHA-256: the last of them decides, so a
file that is changed, copied here or put back agrees to nothing.
"""

import datetime as dt
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import tomli_w

from fedistill.config.simulation import Simulation
from fedistill.consent.items import Item, items_of
from fedistill.consent.study import hash_of, study_of
from fedistill.core.files import PRIVATE_FILE, private_folder, write_atomic
from fedistill.core.text import printable
from fedistill.errors import PlanError, PolicyError, SettingError
from fedistill.privacy.accounting.ledger_lines import Entry

FOLDER = "agreements"
HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Agreement:
    """A site's agreement to a study.

    Args:
        hash: of the study; text: its canonical text.
        site: who agrees.
        by: who said yes there; at: when, in UTC; until: the last day on which anything is answered.
        refused: schemes of the study that the site does not take part in, and why.
        standing: schemes whose answers leave without being looked at first.
        evidence: what an audit of such Releases found, as it was shown before the yes.
    """

    hash: str
    text: str = field(repr=False)
    site: str
    by: str
    at: str
    until: str
    refused: Mapping[str, str] = field(default_factory=dict)
    standing: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

    @property
    def study(self) -> Simulation:
        """The study, as this site understands it."""
        return study_of(self.text)

    def items(self) -> dict[str, Item]:
        """Return everything that may be asked for under the agreement, by name."""
        return {name: item for name, item in _items(self.text, self.site).items() if item.scheme not in self.refused}

    def content(self) -> bytes:
        """Return the agreement as its file holds it."""
        about: dict[str, Any] = {
            name: getattr(self, name) for name in ("hash", "site", "by", "at", "until", "standing", "evidence")
        }
        lines = "# What this hospital has agreed to. The study is in `text`, whole; `fedistill agreements` lists it.\n"
        return (lines + tomli_w.dumps({**about, "refused": dict(self.refused), "text": self.text})).encode()


@lru_cache(maxsize=64)
def _items(text: str, site: str) -> dict[str, Item]:
    """Return the items of a study's text; kept, for the costs of private schemes take seconds to work out."""
    return items_of(study_of(text), site)


class Agreements:
    """The agreements in a folder, as far as the site's ledger confirms them.

    Args:
        folder: of the files.
        entries: all lines of the ledger.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        self.folder = folder
        self._last: dict[str, Entry] = {}
        for entry in entries:
            if entry.kind in ("agreed", "revoked"):
                self._last[entry.occasion.agreement] = entry

    def hashes(self) -> list[str]:
        """Return every study that was ever agreed to, revoked ones included, in the order of the last word on each."""
        return list(self._last)

    def revoked(self, study: str) -> bool:
        """Return whether the last word on a study was no."""
        return self._last[study].kind == "revoked"

    def read(self, study: str) -> Agreement:
        """Read a study's agreement, whether or not it still holds.

        Raises:
            PolicyError: there is none, or its file is not what was agreed to.
        """
        last = self._last.get(study) if HASH.fullmatch(study) else None
        if last is None:
            raise PolicyError(
                "The site has not agreed to this study (rule agreement).",
                found=printable(study, most=80),
                mend="send the hospital the study's file: `fedistill agree STUDY.toml` there says what it would send",
            )
        path = self.folder / f"{study}.toml"
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != last.about.get("file"):
                raise ValueError("it was changed since")
            values = tomllib.loads(data.decode())
            values |= {name: tuple(values[name]) for name in ("standing", "evidence")}
            agreement = Agreement(**values)
            if agreement.hash != study or hash_of(agreement.text) != study:
                raise ValueError("its study is another")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PolicyError(
                "The agreement to this study cannot be read as it was written (rule agreement).",
                found=f"{path.name}: {error}",
                mend="put the file back, or agree again",
            ) from error
        return agreement

    def require(self, study: str) -> Agreement:
        """Return the agreement to a study, if it holds.

        Args:
            study: HASH.

        Raises:
            PolicyError: there is none, it was revoked, it has expired, or it is of another version of FeDistill.
        """
        agreement = self.read(study)
        if self.revoked(study):
            raise PolicyError("The site has revoked its agreement to this study (rule agreement).")
        if dt.datetime.now(dt.UTC).date() > dt.date.fromisoformat(agreement.until):
            raise PolicyError(
                "The site's agreement to this study has expired (rule agreement).", found=f"until {agreement.until}"
            )
        try:
            agreement.study  # noqa: B018 - of another version it raises
        except PlanError as error:
            raise PolicyError(f"{error} (rule agreement)") from error
        return agreement

    def holding(self) -> list[Agreement]:
        """Return the agreements that hold today; those that cannot be read or are of another version answer nothing."""
        agreements = []
        for study in self._last:
            try:
                agreements.append(self.require(study))
            except PolicyError:
                continue
        return agreements

    def find(self, beginning: str) -> str:
        """Return the one study whose HASH begins like this.

        Raises:
            SettingError: none does, or several do.
        """
        known = [study for study in self._last if study.startswith(beginning)]
        if len(known) != 1:
            raise SettingError(
                f"{len(known) or 'No'} agreements begin with {beginning!r}.",
                expected=", ".join(study[:12] for study in self._last) or "an agreement; there is none",
            )
        return known[0]


def write(folder: Path, agreement: Agreement) -> str:
    """Write an agreement's file, mode 0600, and return its SHA-256.

    Raises:
        SettingError: another site has its agreements in this folder.
    """
    data, path = agreement.content(), private_folder(folder) / f"{agreement.hash}.toml"
    if path.is_file() and f'\nsite = "{agreement.site}"\n'.encode() not in path.read_bytes():
        raise SettingError(
            f"{path} is another site's agreement.",
            expected="a folder for each site's own",
            mend='write `agreements = "FOLDER"` into each site\'s file',
        )
    write_atomic(path, data, mode=PRIVATE_FILE)
    return hashlib.sha256(data).hexdigest()
