"""The card of an import: what was read, what was skipped and why, and counts by class, split and patient.

It names files, which may name patients: like the salt, it stays with the hospital.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedistill.data.facts import SPLITS

MOST_NAMED = 1000
"""Files that the card names for each reason."""


@dataclass(frozen=True, eq=False)
class ImportCard:
    """The outcome of an import.

    Args:
        source: what was read, as it was named.
        files: number of files, by kind.
        images: number of images in the data set.
        done: what was done to every image, in words.
        rules: number of images by what became black and white.
        counts: images by class and split; for several findings, positives.
        patients: number of patients by split; empty where they are not known.
        splits: how the splits came about, in words.
        skipped: name and reason of each file that was left out.
        other: names of files that are no images.
        dropped: names of exact copies that were left out, each with what it copies.
        near: names of pairs in different splits that look alike.
        warnings: what a person should look at.
        written: the files.
    """

    source: str
    files: Mapping[str, int]
    images: int
    done: str
    rules: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    patients: Mapping[str, int]
    splits: str
    skipped: Sequence[tuple[str, str]]
    other: Sequence[str]
    dropped: Sequence[tuple[str, str]]
    near: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    written: Sequence[str] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **{name: getattr(self, name) for name in ("source", "images", "done", "splits")},
            **{name: dict(getattr(self, name)) for name in ("files", "rules", "patients")},
            "counts": {name: dict(of) for name, of in self.counts.items()},
            **{name: [list(pair) for pair in getattr(self, name)] for name in ("skipped", "dropped", "near")},
            **{name: list(getattr(self, name)) for name in ("other", "warnings", "written")},
        }

    def text(self) -> str:
        """Return it in Markdown."""
        files = ", ".join(f"{n:,} {kind}" for kind, n in self.files.items())
        lines = [
            f"# {self.written[0] if self.written else 'Import'}",
            "",
            "It names files, which may name patients: keep it in the hospital.",
            "",
            f"- source: {self.source} ({files})",
            f"- images: {self.images:,}; each {self.done}",
            f"- black and white: {', '.join(f'{rule} ({n:,})' for rule, n in self.rules.items())}",
            f"- splits: {self.splits}",
            f"- skipped: {len(self.skipped):,}; no images: {len(self.other):,}; copies left out: {len(self.dropped):,}",
            "",
            "| class | " + " | ".join(SPLITS) + " |",
            "|---|" + "---|" * len(SPLITS),
            *(f"| {name} | " + " | ".join(str(of[s]) for s in SPLITS) + " |" for name, of in self.counts.items()),
        ]
        if self.patients:
            lines.append("| patients | " + " | ".join(str(self.patients[s]) for s in SPLITS) + " |")
        lines += _section("Look at", self.warnings)
        by_reason: dict[str, list[str]] = {}
        for name, why in self.skipped:
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            lines += _section(f"Skipped: {why}", names)
        lines += _section("Copies left out", [f"{name}, a copy of {of}" for name, of in self.dropped])
        lines += _section("Alike, in different splits", [f"{a} and {b}" for a, b in self.near])
        lines += _section("No images", self.other)
        return "\n".join(lines) + "\n"


def _section(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"- and {len(items) - MOST_NAMED:,} more"] if len(items) > MOST_NAMED else []
    return ["", f"## {title}", "", *(f"- {item}" for item in items[:MOST_NAMED]), *more]


def count_images(labels: np.ndarray, split: np.ndarray, class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count images by class and split; for labels (N, L), positives.

    >>> count_images(np.array([0, 1, 1]), np.array([0, 0, 2]), ["no", "yes"])["yes"]
    {'train': 1, 'val': 0, 'test': 1}
    """
    counts = {}
    for k, name in enumerate(class_names):
        has = labels[:, k] == 1 if labels.ndim == 2 else labels == k
        found = Counter(split[has].tolist())
        counts[name] = {of: found[number] for number, of in enumerate(SPLITS)}
    return counts
