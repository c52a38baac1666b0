"""A study is the same text on both sides, whatever machine and folder it is read in; and every setting is in it."""

import json

import pytest
import tomli_w
from attacks.hospital import ANYTHING, study

from fedistill.config import load_simulation
from fedistill.config.jobs import job
from fedistill.consent import study as agreed
from fedistill.consent.items import items_of
from fedistill.consent.study import canonical, differences, hash_of, load_study, read_canonical, study_of
from fedistill.errors import PlanError
from fedistill.methods import settings_for
from fedistill.schemes.base import study_scheme

EVERY = {"random": {}, "dc": {"clusters": 1}, "mtt": {}, "fedavg": {"rounds": 2}, "fedprox": {"rounds": [1, 3]}}
EVERY |= {"local": {}, "ensemble": {}, "join": {"of": "dm"}, "full": {}, "fedadam": {"rounds": 1}}


def written(folder, content, name="study.toml"):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(tomli_w.dumps(content))
    return str(path)


def loaded(folder, *args, **more):
    return load_study(written(folder, study(*args, **more)))


def test_both_sides_have_the_same_text(tmp_path):
    """The coordinator's data lie in another folder than the hospital's copy of the file."""
    here, there = (
        canonical(load_study(written(tmp_path / side, {"name": "s", **study(federation={"dataset": "x.npz"})})))
        for side in ("coordinator", "hospital")
    )
    assert here == there and str(tmp_path) not in here
    assert hash_of(here) == hash_of(there) and len(hash_of(here)) == 64
    assert here == json.dumps(json.loads(here), sort_keys=True, separators=(",", ":")) and here.isascii()


def test_a_study_read_from_its_text_asks_for_the_same(tmp_path):
    ours = loaded(tmp_path, schemes=EVERY, ipc=[1, 2], seeds=2, networks=2)
    theirs = study_of(canonical(ours))
    assert canonical(theirs) == canonical(ours)
    for site in ("north", "east"):
        mine, its = items_of(ours, site), items_of(theirs, site)
        assert mine == its and len(mine) > 20
        for name, item in mine.items():
            assert item.kind == "round" or item.build(None) == its[name].build(None)
    kinds = {item.scheme: item.kind for item in mine.values()}
    assert kinds["dm"] == "release" and kinds["fedprox"] == "round" and kinds["join"] == kinds["ensemble"] == "networks"
    assert "local" not in kinds, "it sends the networks of ensemble, which are asked for once"


def test_the_job_of_an_item_is_the_simulations(tmp_path):
    """Written out, settings are those that the simulation takes from presets: results are the same."""
    content = study("dc", ipc=[1, 10])
    path = written(tmp_path, content)
    simulation, ours = load_simulation(path), load_study(path)
    [item] = items_of(ours, "north").values()
    asked, plain = item.build(None), job(simulation, "north", "dc", 0, 0)
    assert (asked.name, asked.random_seed, asked.ipcs) == (plain.name, plain.random_seed, plain.ipcs)
    for ipc in (1, 10):
        assert settings_for("dc", asked.settings, ipc=ipc) == settings_for("dc", plain.settings, ipc=ipc)


def test_what_auto_stands_for_does_not_depend_on_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("fedistill.core.precision.has_bfloat16", lambda: True)
    path = written(tmp_path, {**study(), "width": 128})
    assert load_simulation(path).precision == "bfloat16" and load_study(path).precision == "float32"
    assert load_study(path, changes=['precision="bfloat16"']).precision == "bfloat16"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"width": 64}, "width: 32 here, 64 there"),
        ({"seed": 3}, "seed: 0 here, 3 there"),
        ({"settings": {"batch_real": 48}}, "scheme.dm.ipc.1.batch_real: 32 here, 48 there"),
        ({"ipc": [1, 2]}, "ipc: [1] here, [1, 2] there"),
    ],
)
def test_two_studies_differ_by_the_setting_that_does(tmp_path, change, line):
    settings = change.pop("settings", {})
    one, other = canonical(loaded(tmp_path)), canonical(loaded(tmp_path, "dm", settings, **change))
    assert hash_of(one) != hash_of(other) and line in differences(one, other)
    assert not differences(one, one)


def test_deadlines_threads_and_policies_are_nobodys_business(tmp_path):
    plain = canonical(loaded(tmp_path))
    other = loaded(tmp_path, deadline_s=60.0, threads=2, federation={"policy": {**ANYTHING, "max_ipc": 5}})
    assert canonical(other) == plain


@pytest.mark.parametrize("name", ["fedistill", "presets", "format"])
def test_another_version_is_another_study(tmp_path, monkeypatch, name):
    text = canonical(loaded(tmp_path))
    content = {**json.loads(text), name: "another"}
    with pytest.raises(PlanError, match="another version"):
        study_of(json.dumps(content, sort_keys=True, separators=(",", ":")))
    monkeypatch.setattr(agreed, "__version__", "9.9.9")
    assert hash_of(canonical(loaded(tmp_path))) != hash_of(text)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a":' * 100_000, "x" * (1 << 21)])
def test_what_is_no_study_says_so(text):
    with pytest.raises(PlanError):
        study_of(read_canonical(text) and text)


def test_a_sweep_is_no_study(tmp_path):
    path = written(tmp_path, {**study(), "sweep": {"width": [32, 64]}})
    with pytest.raises(PlanError, match="agree to one study"):
        load_study(path)


def test_a_hospital_that_is_not_in_the_study_is_told(tmp_path):
    with pytest.raises(PlanError, match="has no site 'west'"):
        items_of(loaded(tmp_path), "west")


def test_central_schemes_ask_hospitals_for_nothing(tmp_path):
    ours = loaded(tmp_path, schemes={"central-dm": {}})
    assert {item.scheme for item in items_of(ours, "north").values()} == {"dm"}
    assert study_scheme("central-dm").one_place
