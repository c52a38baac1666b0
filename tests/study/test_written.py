"""Tables as files: no name becomes a formula, and what somebody else saved there is noticed."""

import numpy as np
import pandas as pd
import pytest

from fedistill.errors import RunFolderError
from fedistill.study.folder.tables_on_disk import csv_text, read_table

RESULTS = pd.DataFrame(
    {
        "dataset": ["=x.npz", "b"],
        "scheme": ["random", "dc"],
        "recipe": "common",
        "model": "convnet",
        "ipc": pd.array([None, 10], "Int64"),
        "network": [0, 1],
        "accuracy": [0.25, np.nan],
        "auc": [-0.5, 1e-7],
        "n_sites": 2,
    }
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(csv_text(RESULTS))
    return path


def test_text_that_begins_as_a_formula_is_quoted_and_numbers_are_not():
    hostile = ["=HYPERLINK(1)", "+cmd", "-x", "@SUM(1)", "plain", "-1", "+2.5e3", None, 7]
    text = csv_text(pd.DataFrame({"=class": hostile, "images": range(-1, 8)}))
    assert text.splitlines() == [
        *("'=class,images", "'=HYPERLINK(1),-1", "'+cmd,0", "'-x,1", "'@SUM(1),2", "plain,3", "-1,4", "+2.5e3,5"),
        *(",6", "7,7"),
    ]


def test_a_table_without_such_text_is_written_as_pandas_writes_it():
    plain = RESULTS.assign(dataset="a")
    assert csv_text(plain) == plain.to_csv(index=False)


def test_what_was_quoted_is_read_as_it_was(table):
    assert "'=x.npz" in table.read_text()
    frame = read_table(table)
    assert frame["dataset"].tolist() == ["=x.npz", "b"] and frame["auc"].tolist() == [-0.5, 1e-7]


def test_a_name_that_looks_blank_is_none(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text("partition,site,scheme,ipc,seed,status,why\n0,NA,dc,1,0,shared,\n")
    frame = read_table(path)
    assert frame["site"].tolist() == ["NA"] and frame["why"].isna().all()
    frame.loc[0, "why"] = "words"  # which a column of numbers would not take


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text.replace(",", ";").replace(".", ","), "with commas between them"),
        (lambda text: text.replace(",", "\t"), "with commas between them"),
        (lambda text: text.replace("0.25", '"0,25"'), "numbers in the column accuracy"),
        (lambda text: text.replace("accuracy", "Accuracy"), "accuracy among them"),
        (lambda text: text + 'a,b,"\n', "a table as CSV"),
        (lambda text: "\0" * 100, "not as the run wrote it"),
        (lambda text: "\n\n\n", "a table"),
    ],
    ids=["semicolons", "tabs", "decimal commas", "renamed", "cut", "zeroed", "emptied"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_that_was_saved_otherwise_is_noticed(table, change, found, encoding):
    table.write_text(change(table.read_text()), encoding=encoding)
    with pytest.raises(RunFolderError, match="not as the run wrote it") as raised:
        read_table(table)
    assert found in str(raised.value) and "run the simulation again" in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_mark_at_the_beginning_alone_does_no_harm(table):
    table.write_text(table.read_text(), encoding="utf-8-sig")
    pd.testing.assert_frame_equal(read_table(table)[["scheme", "auc"]], RESULTS[["scheme", "auc"]], check_dtype=False)


def test_no_table_is_no_finished_run(tmp_path):
    with pytest.raises(RunFolderError, match="holds no finished run"):
        read_table(tmp_path / "results.csv")
    (tmp_path / "screens.csv").write_text("\n")
    assert read_table(tmp_path / "screens.csv").empty


def test_a_table_without_rows_is_read_as_one(tmp_path):
    """At connected sites nobody but they knows what they hold: holdings.csv has a head alone."""
    path = tmp_path / "holdings.csv"
    path.write_text("site,split,class,partition,images,site_images\n")
    assert read_table(path).empty
