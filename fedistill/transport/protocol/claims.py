"""Checks of a site's claims against the request: how it made a Release, what protects it, and its figures.

The server cannot see how many images a site holds, or what it did with them. It can see that a Release answers another
question than was asked, that a statement promises what nobody asked for, and that a figure cannot be.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedistill.config import Job
from fedistill.core.precision import on
from fedistill.core.ranges import detail
from fedistill.core.text import printable
from fedistill.errors import ReleaseError, SettingError
from fedistill.methods import METHODS, labels_for, privacy_statement, settings_for
from fedistill.methods.engine.settings import pack_of, read
from fedistill.methods.private.queries import PrivateSettings
from fedistill.methods.registry import is_private
from fedistill.release.release import Release

MOST_EXAMPLES = 10_000_000
"""Images that a site may say it has: more than any collection of medical images there is. That a smaller lie does not
take a pool is looked after where sites are weighed: see `fedistill.schemes.server.pooling.cap_counts`."""
LONGEST_SECONDS = 366 * 86_400.0
"""Seconds that a budget may be said to have taken. Not only since it was asked for: what a site had made before, it
sends with the seconds that it took then."""
LONGEST_STATEMENT = 4_000
"""Characters of a statement of privacy."""

_STATED = re.compile(r"Differentially private: epsilon (\S+) at delta (\S+) for every single ")
_CLAIM = re.compile(r"epsilon|\bdelta\b|differential", re.IGNORECASE)
ROUNDED = 1.001
"""A stated epsilon has four digits."""


def require_as_asked(release: Release, job: Job) -> None:
    """Refuse a Release that says it was made otherwise than it was asked for, or that promises something else.

    Raises:
        ReleaseError: what it says.
    """
    said = release.provenance
    # A site says what it computed in: its processor takes float32 for TF32, which it has not.
    precisions = (job.precision, on("cpu", job.precision))
    expected = {"model": job.model, "width": job.width, "precision": " or ".join(dict.fromkeys(precisions))}
    reported = {name: said.get(name) for name in expected}
    stated = {**expected, "precision": reported["precision"]}
    if stated != reported or reported["precision"] not in precisions or type(reported["width"]) is not int:
        raise ReleaseError("The Release was made for another network.", expected=expected, found=printable(reported))
    labels = labels_for(job.method, job.settings).detail().get("labels")
    if said.get("labels") != labels:
        raise ReleaseError("The labels were made otherwise.", expected=labels, found=printable(said.get("labels")))
    settings = said.get("settings")
    if not isinstance(settings, dict) or set(settings) != {str(ipc) for ipc in job.budgets}:
        names = list(settings) if isinstance(settings, dict) else settings
        raise ReleaseError("The Release does not say its settings.", expected=list(job.budgets), found=printable(names))
    for ipc in job.budgets:
        _require_settings(settings[str(ipc)], job, ipc)
    _require_statement(release.privacy, job)


def _require_settings(said: object, job: Job, ipc: int | None) -> None:
    """Raise ReleaseError if the reported settings differ from those requested."""
    kind, where = METHODS[job.method].settings, f"settings of {'all' if ipc is None else f'ipc {ipc}'}"
    try:
        if not isinstance(said, Mapping):
            raise SettingError("not those of the scheme")
        reported: Any = read(kind, said)
        if not set(detail(reported)) <= set(said):
            raise SettingError("not those of the scheme")
        expected = settings_for(job.method, job.settings, ipc=ipc)
    except SettingError as error:
        raise ReleaseError(f"Invalid {where}.", found=printable(error)) from error
    if reported != expected:
        other = {name: value for name, value in asdict(expected).items() if value != getattr(reported, name)}
        differing = {name: getattr(reported, name) for name in other}
        raise ReleaseError(f"The {where} are not those asked for.", expected=other, found=printable(differing))


def pack_asked(job: Job, ipc: int | None) -> int:
    """Return how many smaller images along each side of one a job asks for."""
    return pack_of(settings_for(job.method, job.settings, ipc=ipc))


def _require_statement(said: str, job: Job) -> None:
    if len(said) > LONGEST_STATEMENT:
        raise ReleaseError("The privacy statement is too long.", expected=LONGEST_STATEMENT, found=len(said))
    if not is_private(job.method):
        usual = privacy_statement(job.method)
        if not said.startswith(usual):
            raise ReleaseError(
                "The statement of privacy is not that of the scheme.", expected=usual, found=printable(said)
            )
        if _CLAIM.search(said[len(usual) :]):
            more = printable(said[len(usual) :])
            raise ReleaseError(f"{job.scheme!r} has no bound, and the statement of privacy claims one.", found=more)
        return
    each: list[PrivateSettings] = [settings_for(job.method, job.settings, ipc=ipc) for ipc in job.budgets]
    bounds = {(one.epsilon, one.delta) for one in each}
    delta = max(one.delta for one in each)
    most = sum(one.epsilon for one in {tuple(one.asked().items()): one for one in each}.values())
    stated = _STATED.match(said)
    epsilon = _number(stated[1]) if stated else math.nan
    kept = stated is not None and 0 < epsilon <= most * ROUNDED and stated[2] == f"{delta:g}"
    if not kept or any(f"(epsilon {one:g} at delta {its:g})" not in said for one, its in bounds):
        raise ReleaseError(
            "The statement of privacy does not say the guarantee that was asked for.",
            expected=f"epsilon {most:g} at delta {delta:g} at most",
            found=printable(said),
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
