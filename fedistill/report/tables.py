"""Tables of a run: what stands in each cell. A page and a terminal render the same tables.

A table's columns say how a line of the run's data becomes a cell; `html/templates` and `terminal/table.py` show them.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from fedistill.report import format as words
from fedistill.report.frames import differing, first_of, lines_of, whole_pools
from fedistill.report.run_data import ATTACKED, RunData
from fedistill.report.table import Cell, Column, Head, Line, Row, Table, build, number, text


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


IPC = number("ipc", "ipc", means="images per class that each site shares", folds=True)
ROUNDS = number("Rounds", "rounds", means="of federated training", short="rounds", folds=True)
IMAGES = number(
    "Images", "images_shared", words.count, means="shared by all sites together", short="images", folds=True
)
SHARED = number(
    "Releases",
    "bytes_shared",
    words.size,
    means="bytes of the files, or of networks, that left the sites",
    short="shared",
)
FROM_SITES = number("From sites", "bytes_up", words.size, means="bytes of encoded messages")
TO_SITES = number("To sites", "bytes_down", words.size, means="bytes of encoded messages", short="to sites")
GAINS = {
    "auc_gap_to_full": ("Gap to full", "AUC that training on all images has above it, in points", "gap"),
    "auc_gain_over_random": ("Gain over random", "AUC above that of as many random images, in points", "gain"),
}
"""DD-Ranking's two differences; those of accuracy are in comparison.csv."""
_SPREAD = "mean over networks, ± standard deviation between networks of one seed, in parentheses between seeds"


def metric(name: str, key: str, *, short: str = "") -> Column:
    """Return a column of a metric with its spreads."""
    return Column(Head(name, _SPREAD, short=short), lambda line: Cell(words.metric(line, key), line[key]))


def gain(key: str) -> Column:
    """Return a column of one of `GAINS`."""
    name, means, short = GAINS[key]
    return number(name, key, words.points, means=means, short=short)


def difference(name: str, key: str) -> Column:
    """Return a column of the interval of a metric's difference to random images, sorted by its middle."""

    def cell(line: Line) -> Cell:
        low, high = (line.get(f"{key}_vs_random_{end}") for end in ("low", "high"))
        return Cell("") if words.is_blank(low) else Cell(words.span(low, high), (float(low) + float(high)) / 2)  # type: ignore[arg-type]

    return Column(Head(f"{name} less random’s", "95 % interval, in points"), cell)


def conditions(compared: pd.DataFrame, *, without: Sequence[str] = ()) -> list[Column]:
    """Return the columns that tell lines of comparison.csv apart.

    Args:
        compared: comparison.csv.
        without: settings that stand elsewhere.
    """
    about = [text(name, name) for name in differing(compared) if name not in without]
    return [
        text("Scheme", "scheme", short="scheme"),
        *about,
        IPC,
        *([ROUNDS] if compared["rounds"].notna().any() else []),
    ]


def point_of(run: RunData) -> Callable[[Line], str]:
    """Return what names the point of a sweep that a line belongs to; empty for one that belongs to none."""
    return lambda line: ", ".join(f"{n} = {words.word(line[n])}" for n in run.swept if not words.is_blank(line[n]))


def quality(run: RunData) -> Table:
    """Return what every scheme and budget reached, with both spreads and the intervals."""
    frame = run.whole
    metrics = [metric(t, m) for m, t in (("auc", "AUC"), ("balanced_accuracy", "Balanced accuracy"))]
    metrics += [metric(t, m) for m, t in (("accuracy", "Accuracy"), ("f1_macro", "F1"))]
    gains = [gain(key) for key in GAINS if key in frame and frame[key].notna().any()]
    tested = [difference(t, m) for m, t in (("auc", "AUC"), ("accuracy", "Accuracy")) if f"{m}_vs_random_low" in frame]
    columns = [*conditions(run.compared), *metrics, *gains, *tested]
    return build("quality-table", "Quality on the official test split, in %", columns, lines_of(frame))


def overview(run: RunData, *, wide: bool) -> Table:
    """Return quality and cost in one table, grouped by the points of a sweep, for a terminal.

    Args:
        run: the run.
        wide: whether there is room for all of it.
    """
    columns = [*conditions(run.compared, without=run.swept), metric("AUC", "auc")]
    columns += [metric("Balanced accuracy", "balanced_accuracy", short="balanced")]
    columns += [metric("Accuracy", "accuracy", short="accuracy")]
    if wide:
        columns += [*(gain(key) for key in GAINS), difference("AUC", "auc"), IMAGES, TO_SITES]
    return build("overview", "", [*columns, SHARED], lines_of(run.whole), group=point_of(run))


def costs(run: RunData) -> Table:
    """Return what every scheme and budget took."""
    work = "seconds of computing, all sites together"
    training = "seconds, a network, at the server or, of local networks, at the site"
    columns = [*conditions(run.compared), IMAGES, SHARED, FROM_SITES, TO_SITES]
    columns += [number("Sites’ work", "distill_seconds", _seconds, means=work)]
    columns += [number("Training", "train_seconds", _seconds, means=training)]
    lines = run.whole[run.whole["scheme"] != "majority"]
    return build("cost-table", "What it takes: images, bytes and seconds", columns, lines_of(lines))


def at_sites(run: RunData, *, grouped: bool = False) -> Table | None:
    """Return how networks do on images that sites set aside, and what each site gains; None where none set any aside.

    Args:
        run: the run.
        grouped: by the points of a sweep.
    """
    frame = run.whole
    if "site_auc" not in frame or not frame["site_auc"].notna().any():
        return None
    gains = "in AUC over each site’s own networks, mean over sites, in points"
    columns = [
        *conditions(run.compared, without=run.swept if grouped else ()),
        number("AUC", "site_auc", words.percent, means="mean over sites, in %"),
        number("Lowest site", "site_auc_worst", words.percent, means="AUC, in %", short="worst site", folds=True),
        number("Gain", "site_gain", words.points, means=gains, short="gain", folds=True),
        number("Lowest gain", "site_gain_worst", words.points, means="of any site", short="worst gain", folds=True),
        number("Sites that gain", "sites_gaining", short="sites that gain", folds=True),
    ]
    lines = lines_of(frame[frame["site_auc"].notna()])
    caption = "On images that the sites set aside"
    return build("site-table", caption, columns, lines, group=point_of(run) if grouped else lambda line: "")


def by_source(run: RunData) -> Table | None:
    """Return AUC on each of the sets that the test split is joined of; None where it is one set."""
    frame = run.at_first_point(run.sources)
    if frame.empty:
        return None
    frame, keys = first_of(whole_pools(frame)), ["scheme", "ipc", "rounds"]
    sizes = frame.groupby("source", sort=False)["test_images"].first()
    means = [
        {**dict(zip(keys, values, strict=True)), **group.groupby("source")["auc"].mean().to_dict()}
        for values, group in frame.groupby(keys, sort=False, dropna=False)
    ]
    columns = [text("Scheme", "scheme"), IPC, ROUNDS]
    columns += [
        number(str(name), str(name), words.percent, means=f"AUC in %, on its {int(size):,} test images")
        for name, size in sizes.items()
    ]
    caption = "AUC on each set’s own test split, in %, mean over networks"
    return build("source-table", caption, columns, means)


def holdings(run: RunData) -> Table | None:
    """Return who held what; None where nobody knows.

    It counts images of every class at every site, shaded by the class's share of the largest cell.
    """
    frame = run.at_first_point(run.holdings)
    if frame.empty:
        return None
    frame = frame[(frame["partition"] == frame["partition"].min()) & frame["site"].notna()]
    train = frame[frame["split"] == "train"]
    counts = train.pivot_table(index="class", columns="site", values="images", sort=False, aggfunc="sum")
    counts = counts.reindex(index=list(dict.fromkeys(train["class"])), columns=list(run.sites)).fillna(0)
    most = max(1, counts.to_numpy().max())
    rows = [
        Row([Cell(str(name)), *(Cell(words.count(n), n, shade=n / most) for n in line), _total(line)])
        for name, line in counts.iterrows()
    ]
    totals = []
    for split, title in (("train", "all training images"), ("val", "validation"), ("held_out", "set aside for tests")):
        sizes = frame[frame["split"] == split].groupby("site")["site_images"].first().reindex(run.sites).fillna(0)
        if split == "train" or sizes.any():
            totals.append(Row([Cell(title), *(Cell(words.count(n), n) for n in sizes), _total(sizes)]))
    heads = [Head("Class", number=False), *(Head(site) for site in run.sites), Head("all")]
    return Table("holdings-table", "Training images of each class at each site", heads, rows, totals)


def _total(counts: pd.Series) -> Cell:
    return Cell(words.count(counts.sum()), counts.sum())


def privacy(attacks: pd.DataFrame, *, grouped: bool = False) -> Table | None:
    """Return what attacks found out; None where none was made.

    Args:
        attacks: privacy.csv; equal lines of several points stand once.
        grouped: by what was attacked, for a terminal.
    """
    if attacks.empty:
        return None
    knows = ("seed_known", "population_known", "members_known", "releases")
    keys = [name for name in ("site", *ATTACKED, "seen", "attack", "records", *knows) if name in attacks]
    lines = lines_of(attacks.drop_duplicates([*keys, "auc"]))
    in_rounds = any(not words.is_blank(line.get("rounds")) for line in lines)
    title = "Found at 1 % false alarms"
    results = [
        Column(Head("AUC of the attack", "50 % is a coin; 95 % interval", short="AUC"), _share("auc", "auc")),
        Column(
            Head(title, "share of members recognised, in %; 95 % interval", short="found at 1 %"),
            _share("tpr_at_1", "tpr"),
        ),
    ]
    # A terminal has no room for these.
    if not grouped and any(not words.is_blank(line.get("tpr_at_01")) for line in lines):
        rare = Head("At 0.1 %", "share of members recognised where one in a thousand is accused", short="at 0.1 %")
        results.append(Column(rare, _share("tpr_at_01", "tpr_at_01")))
    if not grouped and any(not words.is_blank(line.get("exposed")) for line in lines):
        means = "of two shadows, how often the one with the most exposed record is told; 50 % is a coin"
        most = Head("Most exposed", means, short="most exposed")
        results.append(Column(most, _share("exposed", "exposed")))
    if grouped:
        columns = [text("Attack", "attack", short="attack", folds=True), *results]
        return build("privacy-table", "", columns, lines, group=lambda line: words.attacked({"rounds": None, **line}))
    columns = [
        text("Scheme", "scheme"),
        IPC,
        *[ROUNDS] * in_rounds,
        number("ε", "epsilon", means="of differential privacy; blank: none"),
        text("Start", "start", means="what synthetic images start from"),
        Column(Head("Attack", number=False), _attack),
        *results,
        number("Members", "members", means="members the attack was to find, in all shadows together"),
    ]
    return build("privacy-table", "What attacks found out", columns, lines)


def _attack(line: Line) -> Cell:
    on = f" on {line['records']}" if line.get("records") in ("canaries", "outliers") else ""
    several = line.get("releases")
    more = "" if several is None or words.is_blank(several) or several <= 1 else f", {words.word(several)} Releases"
    return Cell(words.word(line["attack"]) + on + more + (", seed known" if line.get("seed_known") == "yes" else ""))


def _share(key: str, stem: str) -> Callable[[Line], Cell]:
    return lambda line: Cell(
        words.with_interval(line.get(key), line.get(f"{stem}_low"), line.get(f"{stem}_high")), line.get(key)
    )


def what_sites_add(run: RunData) -> list[str]:
    """Return a line a pool: how the AUC changes when a site is left out of it, in points."""
    frame = run.compared
    keys = [*run.swept, "partition", "recipe", "model", "scheme", "ipc"]
    tried = frame[frame["left_out"].notna() & (frame["left_out"] != "")]
    tried = tried.merge(run.whole[[*keys, "auc"]], on=keys, suffixes=("", "_whole"))
    texts = []
    for _, group in tried.groupby(keys, sort=False, dropna=False):
        lines = lines_of(group)
        point = [words.word(lines[0][name]) for name in run.swept]
        parts = [f"{line['left_out']} {words.points(line['auc'] - line['auc_whole'])}" for line in lines]
        what = ", ".join([*point, words.condition({**lines[0], "rounds": None})])
        texts.append(f"{what}, AUC without one site, in points: {', '.join(parts)}")
    return texts
