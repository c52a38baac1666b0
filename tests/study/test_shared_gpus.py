"""A study that asks for parts of a GPU is told what that costs, by `plan` and by `run`."""

import json
import sys

import pytest
import torch
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.study import run
from fedistill.study.forecast import benchmark
from fedistill.study.preflight import shared_gpus
from fedistill.transport.server import launch

POLICY = "policy = { allow_real_images = true, start = 'real' }"
COST = "processes that share a GPU slow each other down (fourteen of them tenfold, measured on one H200)"


@pytest.mark.parametrize(("site", "server"), [("0", "0"), ("1", "1"), ("2", "0")])
def test_whole_cards_cost_nothing(tmp_path, site, server):
    federation = f"{POLICY}, site = {{ a = {{ gpus = {site} }} }}"
    assert not shared_gpus(load_plan(write_tiny(tmp_path, federation=federation, more=f"gpus = {server}")))


def test_parts_of_one_are_named_once(tmp_path):
    federation = f"{POLICY}, site = {{ a = {{ gpus = 0.25 }}, b = {{ gpus = 0.25 }} }}"
    [note] = shared_gpus(load_plan(write_tiny(tmp_path, federation=federation, more="gpus = 0.5")))
    assert note.startswith("With gpus = 0.25 and gpus = 0.5 each job is a process of its own")
    assert COST in note and "with gpus = 1 a single process drives it" in note


def test_plan_and_run_say_so(tmp_path, typed, monkeypatch):
    monkeypatch.setattr(benchmark, "ENOUGH_SECONDS", 0.01)
    path = write_tiny(tmp_path, federation=f"{POLICY}, site = {{ a = {{ gpus = 0.5 }} }}")
    few = ("ipc=[1]", "scheme={random={}}")
    code, text = typed("plan", path, "--set", few[0], "--set", few[1])
    assert code == 0 and COST in " ".join(text.split())
    code, text = typed("plan", path, "--set", few[0], "--set", few[1], "--json")
    assert code == 0 and COST in json.loads(text)["notes"][0]

    def without_ray(plan, conduct, *, engine, **rest):
        return launch.launch(plan, conduct, engine="inline", **rest)

    monkeypatch.setattr(sys.modules[run.__module__], "launch", without_ray)
    monkeypatch.setattr("fedistill.transport.site.context.device_for", lambda gpus: torch.device("cpu"))
    for engine, count in (("local", 1), ("inline", 0)):
        heard = []
        run(load_plan(path, changes=few), out=tmp_path / engine, engine=engine, on_event=heard.append)
        assert [COST in event.message for event in heard if event.kind == "note"].count(True) == count
