"""A study's networks in use: the table's figures again, and new files through the same preprocessing."""

import json

import numpy as np
import pandas as pd
import pytest
from export.study import write_study
from PIL import Image
from tiny import same

import fedistill as fd
from fedistill.core.seeds import generator
from fedistill.errors import DataError, RunFolderError
from fedistill.export.network.collect import Line, collect_networks
from fedistill.export.network.model_file import Architecture, ModelFile
from fedistill.export.network.onnx_file import to_onnx
from fedistill.models import MODELS
from fedistill.training.metrics import METRICS, score

LINES = [
    Line("full"),
    Line("random", ipc=2, seed=1),
    Line("dc", ipc=1, network=1),
    Line("fedavg", rounds=2),
    Line("local", site="south"),
    Line("ensemble"),
]


def table(home):
    return pd.read_csv(home / "run" / "results.csv")


def test_the_same_images_as_npz_and_by_import_give_equal_results(home, plain, tmp_path):
    classes = fd.load_dataset(home / "thorax.npz").class_names
    assert classes == tuple(sorted(classes)), "the phantom's own order too, or labels would differ"
    rows = fd.run_simulation(str(write_study(tmp_path, plain)), out=tmp_path / "run", engine="inline")
    # A message of networks has the seconds they took, and so a digit more or less.
    aside = ["dataset", "bytes_shared", "bytes_up"]
    same(table(home).drop(columns=aside), pd.read_csv(tmp_path / "run" / "results.csv").drop(columns=aside))
    assert len(rows) == len(table(home))


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.scheme)
def test_networks_on_the_test_split_give_the_table_s_figures_to_four_digits(home, tmp_path, line):
    content = collect_networks(home / "run", line)
    (tmp_path / "m.safetensors").write_bytes(content.to_bytes())
    model = fd.Model.load(tmp_path / "m.safetensors")
    test = fd.load_dataset(home / "thorax.npz", "test")
    each = model.predict_each(model.prepared(test))
    rows = table(home)
    for name in ("scheme", "ipc", "rounds", "seed", "site", "network"):
        value = getattr(line, name)
        if value is not None:
            rows = rows[rows[name] == value]
    assert len(each) == len(rows) > 0
    for row, probabilities in zip(rows.to_dict("records"), each, strict=True):
        measured = score(test.labels, probabilities)
        assert all(round(measured[metric], 4) == round(row[metric], 4) for metric in METRICS)
    assert np.allclose(model.predict(test), each.mean(0)) and np.allclose(each.sum(2), 1, atol=1e-5)
    assert content.card["test figures"]["auc"]["of these networks"] == [round(v, 6) for v in rows["auc"]]


def test_train_and_apply_by_the_command_line(typed, home, tmp_path):
    words = ["--scheme", "dc", "--ipc", 2, "--out", "m.safetensors"]
    code, text = typed("train", home / "run", *words)
    assert code == 0 and "2 networks" in text
    card = (tmp_path / "m.card.md").read_text()
    assert "scheme `dc`, ipc 2, seed 0" in card and "95 % interval" in card and "not a medical device" in card
    code, text = typed("apply", "m.safetensors", home / "thorax.npz", "--out", "p.csv", "--json")
    told, rows = json.loads(text), table(home)
    rows = rows[(rows["scheme"] == "dc") & (rows["ipc"] == 2) & (rows["seed"] == 0)]
    assert code == 0 and round(told["mean over networks"]["auc"], 4) == round(rows["auc"].mean(), 4)
    by_set = pd.read_csv(tmp_path / "p.csv")
    assert list(by_set.columns) == ["image", "predicted", *fd.Model.load("m.safetensors").class_names, "label"]

    (tmp_path / "new").mkdir()
    for k in range(3):
        (tmp_path / "new" / f"{k}.png").write_bytes((home / "files" / f"test{k:04}.png").read_bytes())
    (tmp_path / "new" / "cut.png").write_bytes(b"none")
    code, text = typed("apply", "m.safetensors", "new", "--out", "q.csv")
    by_file = pd.read_csv(tmp_path / "q.csv")
    assert code == 0 and "3 images predicted" in text and "cut.png" in text
    assert by_file["image"].tolist() == ["0.png", "1.png", "2.png", "cut.png"]
    names = list(by_set.columns[2:4])
    assert (by_file[names].to_numpy()[:3] == by_set[names].to_numpy()[:3]).all(), "as if they had been imported"
    assert by_file["unreadable"].notna().tolist() == [False, False, False, True]


def test_images_of_another_size_or_depth_are_prepared_as_the_import_prepares_them(home, tmp_path):
    content = collect_networks(home / "run", Line("dc", ipc=2))
    (tmp_path / "m.safetensors").write_bytes(content.to_bytes())
    model = fd.Model.load(tmp_path / "m.safetensors")
    image = np.asarray(Image.open(home / "files" / "test0000.png"))
    once = model.predict([home / "files" / "test0000.png"])
    assert (model.predict(image[None]) == once).all() and (model.predict(image[None, ..., None]) == once).all()
    assert np.allclose(model.predict(np.dstack([image] * 3)[None]), once, atol=1e-6), "grey as RGB"
    with pytest.raises(DataError, match="image 0 cannot be used"):
        model.predict(np.zeros((1, 28, 56), np.uint8))
    with pytest.raises(DataError, match="There are no images"):
        model.predict([])


def test_a_model_of_data_that_nobody_imported_takes_images_of_its_own_kind_alone(plain, tmp_path, typed):
    text = write_study(tmp_path, plain).read_text()
    (tmp_path / "mine.toml").write_text(text.partition("[scheme.full]")[0] + "[scheme.random]\n")
    fd.run_simulation(str(tmp_path / "mine.toml"), out=tmp_path / "run", engine="inline")
    assert typed("train", "run", "--scheme", "random", "--ipc", 1, "--out", "m.safetensors")[0] == 0
    model = fd.Model.load("m.safetensors")
    assert model.predict(np.zeros((2, 28, 28), np.uint8)).shape == (2, 2)
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "a.png")
    code, text = typed("apply", "m.safetensors", "a.png", "--out", "p.csv")
    assert code == 2 and "does not say how its training images were prepared" in text and "fix:" in text


def test_onnx_gives_what_pytorch_gives(typed, home, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    code, text = typed("train", home / "run", "--scheme", "ensemble", "--out", "m.safetensors", "--onnx")
    assert code == 0 and "apart" in text
    session = runtime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    test = fd.load_dataset(home / "thorax.npz", "test")
    [found] = session.run(None, {"pixels": test.images.transpose(0, 3, 1, 2).astype(np.float32)})
    assert np.abs(found - fd.Model.load("m.safetensors").predict(test)).max() < 1e-4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("multilabel", [False, True])
def test_every_architecture_can_be_written_as_onnx(model, multilabel):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    built = Architecture(model, 8, 1, 28, 3)
    groups = tuple((built.build().init(generator(k, "network")),) for k in range(2))
    _, apart = to_onnx(ModelFile(built, groups, ("a", "b", "c"), multilabel, None, {}))
    assert apart is not None and apart < 1e-6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheme", "dcc"], "did you mean 'dc'"),
        (["--scheme", "dc"], "--ipc 1, 2"),
        (["--scheme", "dc", "--ipc", "5"], "--ipc 1, 2"),
        (["--scheme", "dc", "--ipc", "1", "--seed", "7"], "--seed 0, 1"),
        (["--scheme", "dc", "--ipc", "1", "--network", "7"], "--network 0, 1"),
        (["--scheme", "local"], "--site north, south"),
        (["--scheme", "dc", "--ipc", "1", "--point", "3"], "0 to 0"),
    ],
)
def test_a_line_that_is_not_there(typed, home, words, message):
    code, text = typed("train", home / "run", *words, "--out", "m.safetensors")
    assert code == 2 and message in text


def test_networks_that_are_gone_and_folders_that_are_no_runs(home, tmp_path):
    import shutil

    shutil.copytree(home / "run", tmp_path / "run", ignore=shutil.ignore_patterns("work"))
    with pytest.raises(RunFolderError, match="run the simulation again"):
        collect_networks(tmp_path / "run", Line("full"))
    with pytest.raises(RunFolderError, match="says nothing of its networks"):
        collect_networks(tmp_path, Line("full"))


def test_files_that_are_no_models(home, tmp_path):
    content = collect_networks(home / "run", Line("dc", ipc=1))
    data, path = content.to_bytes(), tmp_path / "m.safetensors"
    assert b"networks of width" in data or b"of width 4" in data
    for damaged in (
        b"",
        data[:100],
        data.replace(b'\\"width\\": 4', b'\\"width\\": 8'),
        data.replace(b'\\"size\\": 28', b'\\"size\\": 29'),
        data.replace(b'\\"model\\": \\"convnet\\"', b'\\"model\\": \\"nothing\\"'),
    ):
        assert damaged != data
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="no model file"):
            fd.Model.load(path)
    with pytest.raises(DataError, match="cannot be read"):
        fd.Model.load(tmp_path / "none")


def test_classes_in_another_order_are_refused(home, tmp_path, typed):
    (tmp_path / "m.safetensors").write_bytes(collect_networks(home / "run", Line("dc", ipc=1)).to_bytes())
    with np.load(home / "thorax.npz") as arrays:
        turned = dict(arrays)
    turned["class_names"] = turned["class_names"][::-1]
    np.savez(tmp_path / "turned.npz", **turned)
    code, text = typed("apply", "m.safetensors", "turned.npz", "--out", "p.csv")
    assert code == 2 and "in another order" in text and "--classes" in text
