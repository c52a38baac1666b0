"""Tables of a page: what stands in each cell, and what it is sorted by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedistill.report.run_data import WHAT, Recorded
from fedistill.report.terminal.table import differing, interval_of, lines_of, metric_of, size_of, whole_pools, word

DARKEST = 55
"""Percent of the accent colour in the fullest cell of a heat map: numbers stay readable on it."""


@dataclass(frozen=True)
class Head:
    """A column: its name, what it means, and whether it holds numbers."""

    name: str
    means: str = ""
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """What is read, and the number it is sorted by; words are sorted as words. ``shade``, 0 to 1, of a heat map."""

    text: str
    value: float | None = None
    shade: float | None = None

    @property
    def key(self) -> str:
        """For the page's script; empty for words and blanks."""
        return "" if self.value is None or pd.isna(self.value) else repr(float(self.value))

    @property
    def shading(self) -> str:
        return "" if self.shade is None else f"{DARKEST * self.shade:.0f}%"


@dataclass(frozen=True)
class Grid:
    """A table: its name in the page, its caption, and its rows, whose first cell is their head; ``totals`` stay below
    however the rows are sorted.
    """

    name: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    totals: Sequence[Sequence[Cell]] = ()


GAINS = {
    "auc_gap_to_full": ("Gap to full", "AUC that training on all images has above it, in points"),
    "auc_gain_over_random": ("Gain over random", "AUC above that of as many random images, in points"),
}
"""DD-Ranking's two differences; those of accuracy are in comparison.csv."""


def quality(run: Recorded) -> Grid:
    """What every scheme and budget reached, with both spreads and the intervals."""
    frame = whole_pools(run.compared)
    metrics = (("auc", "AUC"), ("balanced_accuracy", "Balanced accuracy"), ("accuracy", "Accuracy"), ("f1_macro", "F1"))
    tested = [(m, t) for m, t in (("auc", "AUC"), ("accuracy", "Accuracy")) if f"{m}_vs_random_low" in frame]
    heads = [*_about(run), *(Head(title, _SPREAD) for _, title in metrics)]
    differences = [column for column in GAINS if column in frame and frame[column].notna().any()]
    heads += [Head(*GAINS[column]) for column in differences]
    heads += [Head(f"{title} less random’s", "95 % interval, in points") for _, title in tested]
    rows = []
    for line in lines_of(frame):
        cells = _named(run, line)
        cells += [Cell(metric_of(line, metric), line[metric]) for metric, _ in metrics]
        cells += [_points(line, column, "+.1f") for column in differences]
        cells += [points_between(line, metric) for metric, _ in tested]
        rows.append(cells)
    return Grid("quality-table", "Quality on the official test split, in %", heads, rows)


def by_source(run: Recorded) -> Grid | None:
    """AUC on each of the sets that the test split is joined of; None where it is one set."""
    frame = run.at_first_point(run.sources)
    if frame.empty:
        return None
    frame = whole_pools(frame)
    for column in ("partition", "recipe", "model"):
        frame = frame[frame[column] == frame[column].iloc[0]]
    sizes = frame.groupby("source", sort=False)["test_images"].first()
    heads = [Head("Scheme", number=False), Head("ipc"), Head("Rounds")]
    heads += [Head(str(name), f"AUC in %, on its {int(size):,} test images") for name, size in sizes.items()]
    rows = []
    for (scheme, ipc, rounds), group in frame.groupby(["scheme", "ipc", "rounds"], sort=False, dropna=False):
        line: dict[str, Any] = {"ipc": ipc, "rounds": rounds}
        line |= {str(name): auc for name, auc in group.groupby("source")["auc"].mean().items()}
        cells = [Cell(str(scheme)), plain(line, "ipc"), plain(line, "rounds")]
        rows.append([*cells, *(_points(line, str(name), ".1f") for name in sizes.index)])
    return Grid("source-table", "AUC on each set’s own test split, in %, mean over networks", heads, rows)


def costs(run: Recorded) -> Grid:
    """What every scheme and budget took."""
    heads = [
        *_about(run),
        Head("Images", "shared by all sites together"),
        Head("Releases", "bytes of the files, or of networks, that left the sites"),
        Head("From sites", "bytes of encoded messages"),
        Head("To sites", "bytes of encoded messages"),
        Head("Sites’ work", "seconds of computing, all sites together"),
        Head("Training", "seconds, a network, at the server or, of local networks, at the site"),
    ]
    rows = []
    for line in lines_of(whole_pools(run.compared)):
        if line["scheme"] == "majority":
            continue
        images = line["images_shared"]
        cells = [*_named(run, line), Cell(f"{images:,.0f}" if not pd.isna(images) else "", images)]
        for column in ("bytes_shared", "bytes_up", "bytes_down"):
            value = line[column]
            cells.append(Cell(size_of(value) if not pd.isna(value) else "", value))
        cells += [_seconds(line.get("distill_seconds")), _seconds(line.get("train_seconds"))]
        rows.append(cells)
    return Grid("cost-table", "What it takes: images, bytes and seconds", heads, rows)


def at_sites(run: Recorded) -> Grid | None:
    """How networks do on images that sites set aside, and what each site gains; None where no site set any aside."""
    frame = whole_pools(run.compared)
    if "site_auc" not in frame or not frame["site_auc"].notna().any():
        return None
    heads = [
        *_about(run),
        Head("AUC", "mean over sites, in %"),
        Head("Lowest site", "AUC, in %"),
        Head("Gain", "in AUC over each site’s own networks, mean over sites, in points"),
        Head("Lowest gain", "of any site, in points"),
        Head("Sites that gain"),
    ]
    rows = []
    for line in lines_of(frame[frame["site_auc"].notna()]):
        cells = _named(run, line)
        cells += [_points(line, column, ".1f") for column in ("site_auc", "site_auc_worst")]
        cells += [_points(line, column, "+.1f") for column in ("site_gain", "site_gain_worst")]
        rows.append([*cells, Cell(word(line["sites_gaining"]), line["sites_gaining"])])
    return Grid("site-table", "On images that the sites set aside", heads, rows)


def holdings(run: Recorded) -> list[Grid]:
    """Who held what: images of every class at every site, shaded by the class's share of the largest cell."""
    frame = run.at_first_point(run.holdings)
    if frame.empty:
        return []
    frame = frame[(frame["partition"] == frame["partition"].min()) & frame["site"].notna()]
    train = frame[frame["split"] == "train"]
    counts = train.pivot_table(index="class", columns="site", values="images", sort=False, aggfunc="sum")
    counts = counts.reindex(index=list(dict.fromkeys(train["class"])), columns=list(run.sites)).fillna(0).astype(int)
    most = max(1, int(counts.to_numpy().max()))
    rows, totals = [], []
    for name, line in counts.iterrows():
        cells = [Cell(f"{n:,}", n, shade=n / most) for n in line]
        rows.append([Cell(str(name)), *cells, Cell(f"{line.sum():,}", line.sum())])
    for split, words in (("train", "all training images"), ("val", "validation"), ("held_out", "set aside for tests")):
        sizes = frame[frame["split"] == split].groupby("site")["site_images"].first().reindex(run.sites).fillna(0)
        if split == "train" or sizes.any():
            totals.append([Cell(words), *(Cell(f"{n:,.0f}", n) for n in [*sizes, sizes.sum()])])
    heads = [Head("Class", number=False), *(Head(site) for site in run.sites), Head("all")]
    return [Grid("holdings-table", "Training images of each class at each site", heads, rows, totals)]


def privacy(run: Recorded) -> Grid | None:
    """What attacks found out, as privacy.csv has it; None where none was made."""
    if run.privacy.empty:
        return None
    # Points of a sweep have most of their lines in common.
    told = [name for name in ("site", *WHAT, "seen", "attack", "records") if name in run.privacy]
    frame = run.privacy.drop_duplicates([*told, "auc"])
    in_rounds = bool("rounds" in frame and frame["rounds"].notna().any())
    heads = [
        Head("Scheme", number=False),
        Head("ipc", "images per class"),
        *[Head("Rounds", "of federated training")] * in_rounds,
        Head("ε", "of differential privacy; blank: none"),
        Head("Start", "what synthetic images start from", number=False),
        Head("Attack", number=False),
        Head("AUC of the attack", "50 % is a coin; 95 % interval"),
        Head("Found at 1 % false alarms", "share of members recognised, in %; 95 % interval"),
        Head("Members", "members the attack was to find, in all shadows together"),
    ]
    rows = []
    for line in lines_of(frame):
        cells = [Cell(word(line["scheme"])), plain(line, "ipc")]
        cells += [*[plain(line, "rounds")] * in_rounds, plain(line, "epsilon")]
        canaries = " on canaries" if line.get("records") == "canaries" else ""
        cells += [Cell(word(line.get("start"))), Cell(f"{word(line.get('attack'))}{canaries}")]
        cells += [_between(line, "auc", "auc"), _between(line, "tpr_at_1", "tpr"), plain(line, "members")]
        rows.append(cells)
    return Grid("privacy-table", "What attacks found out", heads, rows)


_SPREAD = "mean over networks, ± standard deviation between networks of one seed, in parentheses between seeds"


def _about(run: Recorded) -> list[Head]:
    frame = run.compared
    heads = [Head("Scheme", number=False), *(Head(name, number=False) for name in differing(frame))]
    heads.append(Head("ipc", "images per class that each site shares"))
    return [*heads, Head("Rounds", "of federated training")] if frame["rounds"].notna().any() else heads


def _named(run: Recorded, line: Mapping[str, Any]) -> list[Cell]:
    cells = [Cell(str(line["scheme"])), *(Cell(word(line[name])) for name in differing(run.compared))]
    cells.append(plain(line, "ipc"))
    return [*cells, plain(line, "rounds")] if run.compared["rounds"].notna().any() else cells


def plain(line: Mapping[str, Any], column: str) -> Cell:
    """A number as it is; blank where there is none."""
    value = line.get(column)
    return Cell("") if value is None or pd.isna(value) else Cell(word(value), float(value))


def points_between(line: Mapping[str, Any], metric: str) -> Cell:
    """The interval of the difference to random, in points; sorted by its middle."""
    middle = sum(float(line.get(f"{metric}_vs_random_{end}", float("nan"))) for end in ("low", "high")) / 2
    return Cell(_minus(interval_of(dict(line), metric)), middle)


def _points(line: Mapping[str, Any], column: str, form: str) -> Cell:
    value = line.get(column, float("nan"))
    return Cell("") if pd.isna(value) else Cell(_minus(format(100 * value, form)), value)


def _seconds(value: Any) -> Cell:
    if value is None or pd.isna(value):
        return Cell("")
    return Cell(f"{value:,.1f}" if value < 10 else f"{value:,.0f}", value)


def _between(line: Mapping[str, Any], column: str, stem: str) -> Cell:
    value, low, high = (line.get(name, float("nan")) for name in (column, f"{stem}_low", f"{stem}_high"))
    if pd.isna(value):
        return Cell("")
    span = "" if pd.isna(low) else f" ({100 * low:.1f} to {100 * high:.1f})"
    return Cell(f"{100 * value:.1f}{span}", value)


def _minus(text: str) -> str:
    return text.replace("-", "−")
