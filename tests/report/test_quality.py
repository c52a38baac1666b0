"""Figures of quality: drawn whatever is blank in the table, by one function for both savers; labels stand clear."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fedistill.report.figures.labels import LineLabel, PointLabel, write_labels
from fedistill.report.figures.palette import MARKERS, SERIES, legend, looks
from fedistill.report.figures.panel import Panel, save_png
from fedistill.report.figures.quality import by_bytes, by_ipc, over_random

MAJORITY = {"scheme": "majority", "auc": 0.5, "balanced_accuracy": 0.5, "accuracy": 0.625}
BLANK = float("nan")


def line(scheme, auc, up, down=100.0, **more):
    spread = {"auc_within": 0.01, "auc_between": 0.005, "accuracy_within": 0.02, "accuracy_between": None}
    about = {"model": "convnet", "recipe": "common", "partition": 0, "ipc": None, "rounds": None}
    quality = {"auc": auc, "balanced_accuracy": auc - 0.05, "accuracy": auc - 0.1}
    return {"scheme": scheme, **quality, "bytes_up": up, "bytes_down": down} | about | spread | more


def table(*lines):
    frame = pd.DataFrame(lines, columns=list(line("", 0.5, 0.0)))
    return frame.astype({"ipc": "Int64", "rounds": "Int64"})


EVERYTHING = [
    *(line(scheme, 0.8 + 0.01 * i, 2_000.0 * ipc, ipc=ipc) for i, scheme in enumerate("abcdefgh") for ipc in (1, 10)),
    *(line("fedavg", auc, 1e6 * rounds, 1e6 * rounds, rounds=rounds) for rounds, auc in ((1, 0.7), (20, 0.95))),
    line("full", 0.97, 4e6),
    line("local", 0.9, 0.0, 0.0),
]

FEW = [
    *(line("dc", 0.8 + 0.01 * ipc, 2_000.0 * ipc, ipc=ipc) for ipc in (1, 10)),
    line("fedavg", 0.7, 1e6, 1e6, rounds=1),
    line("full", 0.97, 4e6),
    line("local", 0.9, 0.0, 0.0),
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Save a table's figure against bytes as PNG; (the picture, matplotlib's figure)."""

    def draw(frame):
        figures = []
        monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))[1])
        known = looks(frame["scheme"])
        panels = by_bytes(frame, MAJORITY, known)
        save_png(tmp_path / "c.png", "pneumoniamnist", panels, legend(known, frame["scheme"]))
        [figure] = figures
        return imread(tmp_path / "c.png"), figure

    save = Figure.savefig
    return draw


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_twelve_schemes(drawn):
    picture, figure = drawn(table(*EVERYTHING))
    assert picture.shape[1] == 1395 and len(figure.axes) == 3, "as wide as three panels of a page"
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["AUC, %", "Balanced accuracy, %", "Accuracy, %"]
    for axis in figure.axes:
        assert axis.get_xscale() == "log"
        wanted = {"ipc 1", "ipc 10", "1 round", "20 rounds", "full", "each site alone", "always the commonest class"}
        assert set(words(axis)) == wanted
        dashes = [drawn_line.get_linestyle() for drawn_line in axis.lines if len(set(drawn_line.get_ydata())) == 1]
        assert "-." in dashes and ":" in dashes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*"abcdefgh", "fedavg", "full", "local"]
    seen = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in figure.axes[0].containers}
    assert len(seen) == 10, "no two schemes look the same"


def test_labels_stand_clear_of_one_another(drawn):
    _, figure = drawn(table(*EVERYTHING))
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert axis.bbox.padded(1).containsx(box.x0) and axis.bbox.padded(1).containsx(box.x1)


def test_a_point_is_at_all_its_bytes(drawn):
    _, figure = drawn(table(line("dc", 0.9, 3_000.0, 500.0, ipc=1), line("dc", 0.95, 30_000.0, 500.0, ipc=10)))
    for axis, metrics in zip(figure.axes, ((90, 95), (85, 90), (80, 85)), strict=True):
        curve = axis.containers[0].lines[0]
        assert list(curve.get_xdata()) == [3_500, 30_500]
        assert list(curve.get_ydata()) == pytest.approx(metrics)


@pytest.mark.parametrize(
    "frame",
    [
        table(*FEW).drop(columns=["rounds"]),
        table(*FEW).drop(columns=["auc_within", "auc_between", "accuracy_within", "accuracy_between"]),
        table(*(each | {"auc_within": None, "accuracy_within": None} for each in FEW)),
        table(*FEW).astype({"bytes_up": "Float64", "bytes_down": "Float64"}),
        table(line("dc", BLANK, 3_000.0, ipc=1), line("dm", 0.9, 3_000.0, ipc=1)),
        table(line("dc", 0.9, None, None, ipc=1), line("dm", 0.9, 3_000.0, ipc=1)),
    ],
    ids="rounds spread blank-spread Float64 no-metric no-bytes-known".split(),
)
def test_what_is_blank_is_not_drawn(drawn, frame):
    picture, figure = drawn(frame)
    assert picture.shape[1] == 1395 and picture[..., :3].std() > 0
    assert "always the commonest class" in words(figure.axes[0])


@pytest.mark.parametrize("frame", [table(line("local", 0.9, 0.0, 0.0)), table()], ids=["no-bytes-at-all", "nothing"])
def test_a_figure_of_nothing_leaves_no_file(frame, tmp_path):
    (tmp_path / "c.png").write_bytes(b"of an earlier report")
    assert by_bytes(frame, MAJORITY, looks(frame["scheme"])) == []
    save_png(tmp_path / "c.png", "nothing", [])
    assert not (tmp_path / "c.png").exists()


def test_both_savers_draw_the_same_words_by_the_same_function(drawn):
    frame = table(*FEW)
    _, figure = drawn(frame)
    for panel, axis in zip(by_bytes(frame, MAJORITY, looks(frame["scheme"])), figure.axes, strict=True):
        in_page = set(re.findall(r"<text[^>]*>([^<]*)</text>", panel.svg))
        assert set(words(axis)) <= in_page and axis.get_xlabel() in in_page


def test_a_picture_in_a_page_has_its_colours_from_the_page_and_is_always_alike():
    frame = table(*FEW)
    first, again = (by_ipc(frame, MAJORITY, looks(frame["scheme"]))[0] for _ in range(2))
    assert first.svg == again.svg
    colours = set(re.findall(r"#[0-9a-f]{6}\b|var\(--\w+\)", first.svg))
    assert {"var(--s0)", "var(--ink)", "var(--muted)", "var(--rule)"} <= colours
    assert not any(colour.startswith("#") for colour in colours)


def test_by_ipc_shows_schemes_with_a_budget_and_the_rest_as_lines():
    frame = table(*EVERYTHING)
    panels = by_ipc(frame, MAJORITY, looks(frame["scheme"]))
    assert [panel.title for panel in panels] == ["AUC, %", "Balanced accuracy, %", "Accuracy, %"]
    assert "a 80.0 % at ipc 1, 80.0 % at ipc 10;" in panels[0].alt
    assert "all images shared" in panels[0].svg and "each site alone" in panels[0].svg and "fedavg" not in panels[0].svg
    rest = frame[frame["ipc"].isna()]
    assert by_ipc(rest, MAJORITY, looks(rest["scheme"])) == []


def test_a_difference_to_random_images_is_drawn_with_its_interval():
    random = line("random", 0.8, 1.0, ipc=10) | {"auc_vs_random_low": BLANK, "auc_vs_random_high": BLANK}
    full = line("full", 0.9, 1.0) | {"auc_vs_random_low": 0.05, "auc_vs_random_high": 0.14}
    frame = pd.DataFrame([random, full])
    [panel] = over_random(frame, looks(frame["scheme"]))
    figure = Figure()
    axis = figure.subplots()
    panel.draw(axis)
    ends, middle = axis.lines[1].get_xdata(), axis.lines[2].get_xdata()
    assert list(ends) == pytest.approx([5, 14]) and list(middle) == pytest.approx([10]), "of the largest random budget"
    assert "full +5.0 to +14.0" in panel.alt
    assert over_random(pd.DataFrame([line("full", 0.9, 1.0)]), looks(["full"])) == []


def test_a_title_or_alternative_text_with_markup_stays_text():
    def draw(axis):
        axis.set_xlabel("</text><script>$\\frac{")

    panel = Panel("evil", "t", '"><script>alert(1)</script>', draw)
    assert "<script" not in panel.svg and "&lt;/text&gt;&lt;script&gt;$\\frac{" in panel.svg


def test_no_word_is_cut_off_at_the_edges_of_a_png(monkeypatch, tmp_path):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))[1])
    long = Panel("a", "dm, Accuracy: r = 0.98 (0.97 to 1.00), 7 sets", "", lambda axis: axis.set_xlabel("x") and None)
    save_png(tmp_path / "a.png", "heading", [long, long])
    [figure] = figures
    width = figure.bbox.width
    for axis in figure.axes:
        box = axis._left_title.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and axis.get_title(loc="left").count("\n") == 1


def test_points_that_crowd_share_a_label_and_others_do_not():
    figure = Figure(figsize=(4, 3), dpi=100)
    axis = figure.subplots()
    axis.set(xlim=(0, 10), ylim=(0, 10))
    points = [PointLabel("ipc 1", "red", x, y, 0.1) for x, y in ((5, 5), (5.1, 5.5), (8, 8))]
    write_labels(axis, points, [LineLabel("a line", "black", 5)], [np.array([[5, 5], [8, 8]])])
    assert sorted(words(axis)) == ["a line", "ipc 1", "ipc 1"]
    assert {text.get_color() for text in axis.texts} == {"black", "red", "#222"}


def test_colours_last_for_every_scheme():
    assert len(SERIES) == len(MARKERS), "else the second round may repeat the first"
    known = looks([f"scheme-{number}" for number in range(14)])
    assert len({(look.colour, look.marker, look.hollow) for look in known.values()}) == 14
