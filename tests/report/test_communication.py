"""communication.png: drawn whatever is blank in the table, and its labels stand clear of one another."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fedistill.report.figures import communication
from fedistill.report.figures.communication import draw_communication
from fedistill.report.figures.labels import LineLabel, PointLabel, write_labels


def line(scheme, auc, up, down=100.0, **more):
    spread = {"auc_within": 0.01, "auc_between": 0.005, "accuracy_within": 0.02, "accuracy_between": None}
    about = {"model": "convnet", "recipe": "common", "partition": 0, "ipc": None, "rounds": None}
    return (
        {"scheme": scheme, "auc": auc, "accuracy": auc - 0.1, "bytes_up": up, "bytes_down": down}
        | about
        | spread
        | more
    )


def table(*lines):
    majority = {"scheme": "majority", "auc": 0.5, "accuracy": 0.625, "bytes_up": 0.0}
    frame = pd.DataFrame([majority, *lines], columns=list(line("", 0.5, 0.0)))
    for column in ("ipc", "rounds"):
        frame[column] = frame[column].astype("Int64")
    return frame


EVERYTHING = [
    *(line(scheme, 0.8 + 0.01 * i, 2_000.0 * ipc, ipc=ipc) for i, scheme in enumerate("abcdefgh") for ipc in (1, 10)),
    *(line("fedavg", auc, 1e6 * rounds, 1e6 * rounds, rounds=rounds) for rounds, auc in ((1, 0.7), (20, 0.95))),
    line("full", 0.97, 4e6),
    line("local", 0.9, 0.0, 0.0),
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw a table; (the picture, the words in it)."""

    def draw(frame):
        figures = []
        monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (figures.append(f), save(f, *a, **k))[1])
        draw_communication(frame, "pneumoniamnist", tmp_path / "c.png")
        [figure] = figures
        return imread(tmp_path / "c.png"), figure

    save = Figure.savefig
    return draw


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_twelve_schemes(drawn):
    picture, figure = drawn(table(*EVERYTHING))
    assert picture.shape[:2] == (540, 1275)
    for axis in figure.axes:
        assert axis.get_xscale() == "log"
        wanted = {"ipc 1", "ipc 10", "1 round", "20 rounds", "full", "local: no bytes", "always the commonest class"}
        assert set(words(axis)) == wanted
        dashes = [drawn_line.get_linestyle() for drawn_line in axis.lines if len(set(drawn_line.get_ydata())) == 1]
        assert "--" in dashes and ":" in dashes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*"abcdefgh", "fedavg", "full"]
    colours = {(c.lines[0].get_color(), c.lines[0].get_marker()) for c in figure.axes[0].containers}
    assert len(colours) == 10  # no two schemes look the same


def test_labels_stand_clear_of_one_another(drawn):
    _, figure = drawn(table(*EVERYTHING))
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert axis.bbox.padded(1).containsx(box.x0) and axis.bbox.padded(1).containsx(box.x1)


def test_a_point_is_at_all_its_bytes(drawn):
    _, figure = drawn(table(line("dc", 0.9, 3_000.0, 500.0, ipc=1), line("dc", 0.95, 30_000.0, 500.0, ipc=10)))
    for axis, metrics in zip(figure.axes, ((90, 95), (80, 85)), strict=True):
        curve = axis.containers[0].lines[0]
        assert list(curve.get_xdata()) == [3_500, 30_500]
        assert list(curve.get_ydata()) == pytest.approx(metrics)


def test_only_the_first_model_recipe_and_partition(drawn):
    first = line("dc", 0.9, 3_000.0, ipc=1)
    others = [first | {"model": "resnet"}, first | {"recipe": "native"}, first | {"partition": 1}]
    _, figure = drawn(table(first, *others))
    assert len(figure.axes[0].containers[0].lines[0].get_xdata()) == 1


@pytest.mark.parametrize(
    "frame",
    [
        table(*EVERYTHING).drop(columns=["rounds"]),
        table(*EVERYTHING).drop(columns=["auc_within", "auc_between", "accuracy_within", "accuracy_between"]),
        table(*(each | {"auc_within": None, "accuracy_within": None} for each in EVERYTHING)),
        table(*EVERYTHING).astype({"bytes_up": "Float64", "bytes_down": "Float64"}),
        table(line("local", 0.9, 0.0, 0.0), line("ensemble", 0.9, 0.0, 0.0)),
        table(line("dc", float("nan"), 3_000.0, ipc=1), line("dm", 0.9, 3_000.0, ipc=1)),
        table(line("dc", 0.9, None, None, ipc=1), line("dm", 0.9, 3_000.0, ipc=1)),
        table(),
    ],
    ids="rounds spread blank-spread Float64 no-bytes-at-all no-metric no-bytes-known nothing".split(),
)
def test_what_is_blank_is_not_drawn(drawn, frame):
    picture, figure = drawn(frame)
    assert picture.shape[:2] == (540, 1275) and picture[..., :3].std() > 0
    assert "always the commonest class" in words(figure.axes[0])


def test_points_that_crowd_share_a_label_and_others_do_not():
    figure = Figure(figsize=(4, 3), dpi=100)
    axis = figure.subplots()
    axis.set(xlim=(0, 10), ylim=(0, 10))
    points = [PointLabel("ipc 1", "red", x, y, 0.1) for x, y in ((5, 5), (5.1, 5.5), (8, 8))]
    write_labels(axis, points, [LineLabel("a line", "black", 5)], [np.array([[5, 5], [8, 8]])])
    assert sorted(words(axis)) == ["a line", "ipc 1", "ipc 1"]
    assert {text.get_color() for text in axis.texts} == {"black", "red", "#222"}


def test_colours_last_for_every_scheme():
    assert len(communication.COLOURS) == len(communication.MARKERS)  # else the second round may repeat the first
