"""An agreement in plain words and numbers: what leaves, how often, at what cost; what an audit found."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedistill.config.scheme import scheme_named
from fedistill.config.simulation import Simulation
from fedistill.consent.items import Item, schemes_of
from fedistill.consent.terms import Totals
from fedistill.errors import SettingError
from fedistill.methods import labels_for, settings_for
from fedistill.methods.engine.settings import pack_of
from fedistill.privacy.policy.noisy_scores import DELTA
from fedistill.privacy.policy.rules import Policy

ROUNDS = (
    "In every round but the first, the server sends the weights to start from. Weights made for it can read images out "
    "of the network that goes back; no rule here finds such weights. Privacy bounds (dp-...) do bound what they tell."
)

STARTS = {
    "real": "real images of patients",
    "mean": "means of patients' images",
    "gaussian": "draws fitted to patients' images",
}
"""What a synthetic image may start from, but for noise, in words."""


def described(
    study: Simulation, items: Mapping[str, Item], refused: Mapping[str, str], sums: Totals, policy: Policy
) -> list[str]:
    """Return the lines that a hospital reads before it says yes.

    Args:
        study: written out.
        items: that it would answer.
        refused: schemes that it would not, with the reason of each.
        sums: of all that leaves, this study and those before together.
        policy: the site's rules.
    """
    lines = [f"Study {study.name!r}" + (f", asked for by {study.requester}" if study.requester else "")]
    lines.append(f"Purpose: {study.purpose}" if study.purpose else 'Purpose: the file does not say (purpose = "...").')
    sites = study.federation.sites
    lines.append(
        f"Takes part: {', '.join(sites)}. It goes on while {study.sites_needed} of {len(sites)} answer; whether they "
        "do, this site cannot see."
    )
    lines.append("")
    for scheme in schemes_of(items):
        lines += of_scheme(study, scheme, [item for item in items.values() if item.scheme == scheme])
    lines += [f"{scheme}: nothing is sent, for {why}." for scheme, why in refused.items()]
    lines.append("")
    lines.append(_of(sums.releases, policy.max_releases, "Release", "leave this site in all, with earlier studies"))
    lines.append(
        _of(sums.per_class, policy.max_ipc, "image", "of a class leave in all, in Releases without a privacy bound")
    )
    if policy.limit is not None or sums.epsilon:
        limit = "no limit is set" if policy.limit is None else f"{policy.limit[0]:g} may be spent"
        lines.append(f"Privacy budget: epsilon {sums.epsilon:.4g} is spent in all at delta {policy.delta:g}; {limit}.")
    lines.append(
        "Everything waits here until somebody has looked at it (fedistill requests)."
        if policy.review
        else "Nothing waits to be looked at: it leaves as soon as it is made (review = false)."
    )
    return lines


def of_scheme(study: Simulation, scheme: str, items: Sequence[Item]) -> list[str]:
    """Return the lines on one scheme of a study."""
    first = items[0]
    if first.kind == "scores":
        return _of_scores(study, scheme, items)
    known = scheme_named(scheme)
    if first.kind == "release":
        real = "real images of patients" if known.real else "synthetic images"
        many = "all images there are" if first.per_class is None else f"{first.per_class} images of each class"
        budgets = ", ".join(str(ipc) for ipc in study.budgets(scheme) if ipc is not None)
        each = f" (ipc {budgets})" if budgets else ""
        lines = [f"{scheme}: {_count(len(items), 'Release')} of {real}, each with {many}{each}."]
        lines += _of_images(study, scheme, items)
    else:
        networks = sum(item.networks for item in items)
        what = f"{_count(networks, 'network')} trained on patients' images"
        often = f", one after each of {len(items)} rounds" if first.kind == "round" else ""
        lines = [f"{scheme}: {what}{often}."]
        if first.kind == "round" and not known.private:
            lines.append(f"  {ROUNDS}")
    for ipc in study.budgets(scheme):
        for rounds in study.rounds(scheme):
            guarantee = known.guarantee(study, ipc, rounds)
            if guarantee is not None:
                at = "".join([f" ipc {ipc}" * (ipc is not None), f" {rounds} rounds" * (rounds is not None)])
                lines.append(f"  Private{at}: epsilon {guarantee.epsilon:.4g} at delta {guarantee.delta:g}.")
    if not known.private:
        lines.append("  No privacy bound: attacks find traces of patients in everything of this kind.")
    return lines


def _of_scores(study: Simulation, scheme: str, items: Sequence[Item]) -> list[str]:
    """Return the lines on scores: how many networks, on which images, and what that costs."""
    lines = []
    on = {
        "val": ("validation images here", study.scores_epsilon),
        "held_out": ("the images that this hospital has set aside (held_out)", study.evaluation_epsilon),
    }
    for split, (images, allowed) in on.items():
        networks = sum(item.networks for item in items if item.split == split)
        if networks:
            lines += [
                f"{scheme}: {_count(networks, 'network')} that the server sends "
                f"{'is' if networks == 1 else 'are'} scored on {images}. "
                "Counts leave with Gaussian noise for what one image (or patient) can change in them, and tell an AUC.",
                f"  Private: epsilon {allowed:g} in all, at delta {DELTA:g}, of this hospital's budget.",
            ]
    return lines


def unanswered(questions: int) -> list[str]:
    """Return the line on questions that ask for images set aside, at a site that has none."""
    if not questions:
        return []
    many = _count(questions, "question")
    return [
        f"{many} for scores on images set aside: not answered, for this hospital has set none aside (held_out = 0)."
    ]


def _of_images(study: Simulation, scheme: str, items: Sequence[Item]) -> list[str]:
    """Return the lines on what else the images of a scheme tell: where they start, what is in one, their labels."""
    starts = frozenset[str]().union(*(item.sends.starts for item in items))
    lines = [f"  The synthetic images start from {words}." for start, words in STARTS.items() if start in starts]
    known, values, packs = scheme_named(scheme), study.settings(scheme), set[int]()
    assert known.method is not None
    for ipc in study.budgets(scheme):
        packs.add(pack_of(settings_for(known.method, values, ipc=ipc)))
    for pack in sorted(packs - {1}):
        counts = ", and each of these counts as one" if known.real or "real" in starts else ""
        of = "patients' images" if known.real else "smaller images"
        lines.append(f"  One image may hold {pack} x {pack} {of}{counts}.")
    labels = labels_for(known.method, values)
    if labels.soft:
        networks = _count(labels.label_networks, "network")
        lines.append(
            f"  Soft labels: with each image leave the probabilities that {networks} trained on patients' images here "
            "gave to its classes. They tell of these networks, and so of the patients."
        )
    return lines


def evidence(folder: Path, schemes: Sequence[str]) -> list[str]:
    """Return what the audits of a run found out about these schemes, the strongest attack on each.

    Args:
        folder: of a run with an audit.
        schemes: of the study.

    Raises:
        SettingError: the run has no audit that can be read.
    """
    path = folder / "privacy.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["auc"]]
        best: dict[tuple[str, str, str], dict[str, str]] = {}
        for row in rows:
            key = row["scheme"], row["ipc"], row["rounds"]
            if key not in best or float(row["auc"]) > float(best[key]["auc"]):
                best[key] = row
        lines = [_found(row) for row in best.values() if row["scheme"] in schemes]
    except (OSError, KeyError, ValueError) as error:
        raise SettingError(
            f"{folder} has no audit.", expected="a run folder with privacy.csv, of `fedistill audit`", found=error
        ) from error
    named = {row["scheme"] for row in rows}
    missing = [scheme for scheme in schemes if scheme not in named]
    return lines + [f"{scheme}: the run has audited none of its Releases." for scheme in missing]


def _found(row: Mapping[str, str]) -> str:
    ipc = f" ipc {row['ipc']}" if row["ipc"] else ""
    auc, low, high = (100 * float(row[name]) for name in ("auc", "auc_low", "auc_high"))
    return (
        f"{row['scheme']}{ipc}: the strongest attack ({row['attack']}) tells members from others with AUC {auc:.0f} "
        f"({low:.0f} to {high:.0f}; a coin has 50), on {row['dataset']}, {row['members']} members."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _of(number: int, most: int | None, what: str, rest: str) -> str:
    limit = "no limit is set" if most is None else f"{most} may"
    return f"{_count(number, what)} {rest}; {limit}."
