"""The loop around every method: guards, looks, checkpoints."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from fedistill.core.store import KeptCheckpoints, Store
from fedistill.errors import RunError
from fedistill.methods import METHODS, Task, settings_for
from fedistill.methods.engine import loop
from fedistill.methods.engine.loop import Advance, State, SteadySettings, steadily
from fedistill.methods.engine.quality import Judge

SHORT = {
    "dc": {"iterations": 6, "outer": 2, "inner": 1, "average": 0.5},
    "dsa": {"iterations": 6, "outer": 2, "inner": 1},
    "dm": {"iterations": 6, "early_networks": 0},
    "tdm": {"iterations": 6, "networks": 1, "network_steps": 2, "views": 3},
    "mtt": {
        "iterations": 6, "experts": 2, "epochs": 3, "expert_epochs": 1, "max_start_epoch": 2, "syn_steps": 2,
        "lr_img": 10.0,
    },
}  # fmt: skip


def origin(n=3):
    return State(torch.zeros(n, 1, 8, 8), torch.zeros(n, 1, 8, 8))


class Stop(BaseException):
    """What a signal's handler raises."""


class Stopping:
    """A listener that stops the work at its n-th event."""

    def __init__(self, n):
        self.left = n

    def __call__(self, event):
        self.left -= 1
        if not self.left:
            raise Stop


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_stop_in_the_middle_of_a_look_changes_nothing(look, blobs, tmp_path, monkeypatch):
    method = METHODS["dc"]
    settings = settings_for("dc", SHORT["dc"] | {"looks": 3, "patience": 0}, ipc=2)
    task = Task(blobs((20, 20, 20)), 2, width=4, val=blobs(seed=1))
    whole = method.run(task, settings)
    kept = dataclasses.replace(task, checkpoints=KeptCheckpoints(Store(tmp_path)))
    original, left = Judge.__call__, [look]

    def interrupted(self, images, labels):
        left[0] -= 1
        if not left[0]:
            raise Stop
        return original(self, images, labels)

    monkeypatch.setattr(Judge, "__call__", interrupted)
    with pytest.raises(Stop):
        method.run(kept, settings)
    monkeypatch.setattr(Judge, "__call__", original)
    assert torch.equal(method.run(kept, settings).images, whole.images)


def run(task, blobs, advance, **settings):
    labels = torch.arange(3)
    return steadily(task, "toy", SteadySettings(**settings), labels, origin(), advance)


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("stops", [(1,), (4, 2), (5,)])
def test_a_stopped_distillation_goes_on_and_ends_with_the_same_images(name, stops, blobs, tmp_path):
    method, settings = METHODS[name], settings_for(name, SHORT[name] | {"looks": 3, "patience": 0}, ipc=2)
    task = Task(blobs(), 2, width=4, val=blobs(seed=1))
    whole = method.run(task, settings)
    store = Store(tmp_path)
    kept = dataclasses.replace(task, remember=store.remember, checkpoints=KeptCheckpoints(store))
    for n in stops:
        with pytest.raises(Stop):
            method.run(dataclasses.replace(kept, on_event=Stopping(n)), settings)
    events = []
    made = method.run(dataclasses.replace(kept, on_event=events.append), settings)
    assert torch.equal(made.images, whole.images) and made.lr == whole.lr
    if stops == (5,) and name != "mtt":  # mtt was stopped among its experts
        assert 0 < len([e for e in events if (e.method, e.ipc) == (name, 2) and e.step is not None]) < 6


@pytest.mark.parametrize("name", SHORT)
def test_same_seed_same_bits(name, blobs):
    settings = settings_for(name, SHORT[name], ipc=1)
    one, two = (METHODS[name].run(Task(blobs(), 1, width=4), settings).images for _ in range(2))
    assert torch.equal(one, two)
    other = METHODS[name].run(Task(blobs(), 1, width=4, seed=1), settings).images
    assert not torch.equal(one, other)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e4])
def test_images_that_run_away_come_back_with_half_the_step(bad, blobs):
    paces, events = [], []

    def advance(state, pace, generator):
        paces.append(pace)
        images = state.images + pace
        if float(images[0, 0, 0, 0]) == 15 and pace == 1:  # trouble, once, after the tenth iteration
            images = images + bad
        return Advance(State(images, state.velocity), 0.0, "")

    made = run(Task(blobs(), 1, width=4, on_event=events.append), blobs, advance, iterations=20)
    assert paces[:15] == [1.0] * 15 and set(paces[15:]) == {0.5}
    # Back to iteration 10, ten more from there at half the step.
    assert torch.equal(made.images, torch.full_like(made.images, 15.0))
    assert any("back at iteration 10 with step x 0.5" in e.message for e in events)


def test_what_cannot_be_saved_is_an_error_that_teaches(blobs):
    def advance(state, pace, generator):
        return Advance(State(state.images * math.nan, state.velocity), 0.0, "")

    with pytest.raises(RunError, match="smaller lr_img"):
        run(Task(blobs(), 1, width=4), blobs, advance, iterations=3)


@pytest.mark.parametrize("part", ["loss", "velocity", "number"])
def test_every_number_is_guarded(part, blobs):
    tries = []

    def advance(state, pace, generator):
        tries.append(pace)
        bad = math.nan if pace == 1 else 0.0
        return Advance(
            State(
                state.images,
                state.velocity + (bad if part == "velocity" else 0),
                {"log_lr": bad if part == "number" else 0.0},
            ),
            bad if part == "loss" else 0.0,
            "",
        )

    made = run(Task(blobs(), 1, width=4), blobs, advance, iterations=2)
    assert tries == [1.0, 0.5, 0.5] and made.lr == 1.0


def looking(monkeypatch, qualities):
    """Looks that find these qualities, one after the other."""
    found = iter(qualities)
    monkeypatch.setattr(Judge, "__call__", lambda self, images, labels: next(found))


def count(state, pace, generator):
    return Advance(State(state.images + 1, state.velocity), 0.0, "")


@pytest.mark.parametrize(
    ("qualities", "steps", "chosen"),
    [
        ([0.6, 0.7, 0.8, 0.9, 0.95], 10, 10),  # still rising: to the end
        ([0.6, 0.9, 0.7, 0.7, 0.7], 8, 4),  # two looks without improvement: the best images
        ([0.9, 0.899, 0.9, 0.9, 0.9], 6, 6),  # as good as the best: the latest of them
    ],
)
def test_it_stops_when_quality_no_longer_moves(qualities, steps, chosen, blobs, monkeypatch):
    looking(monkeypatch, qualities)
    events = []
    task = Task(blobs(), 1, width=4, val=blobs(seed=1), on_event=events.append)
    made = run(task, blobs, count, iterations=10, looks=5, patience=2)
    assert events[-1].step == steps
    assert float(made.images[0, 0, 0, 0]) == chosen
    assert ("stopped" in events[-1].message) == (steps < 10)


def test_without_patience_it_only_chooses(blobs, monkeypatch):
    looking(monkeypatch, [0.9, 0.5, 0.5, 0.5, 0.5])
    events = []
    task = Task(blobs(), 1, width=4, val=blobs(seed=1), on_event=events.append)
    made = run(task, blobs, count, iterations=10, looks=5, patience=0)
    assert events[-1].step == 10 and float(made.images[0, 0, 0, 0]) == 2


@pytest.mark.parametrize(("average", "mean"), [(0.0, 10.0), (0.1, 10.0), (0.5, 8.0), (1.0, 5.5)])
def test_the_images_of_the_last_iterations_are_averaged(average, mean, blobs):
    made = run(Task(blobs(), 1, width=4), blobs, count, iterations=10, average=average)
    assert torch.equal(made.images, torch.full_like(made.images, mean))


@pytest.mark.parametrize("name", SHORT)
def test_images_leave_with_noise_that_changes_nothing_on_the_way(name, blobs):
    """The noise has its spread, follows from the seed, and none of the steps or looks has seen it."""
    method, task = METHODS[name], Task(blobs(), 2, width=4, val=blobs(seed=1))
    plain, noisy, again = (
        method.run(task, settings_for(name, SHORT[name] | {"looks": 1, **more}, ipc=2)).images
        for more in ({}, {"pixel_noise": 0.5}, {"pixel_noise": 0.5})
    )
    added = noisy - plain
    assert torch.equal(noisy, again) and abs(float(added.std()) - 0.5) < 0.1 and abs(float(added.mean())) < 0.1


def test_looks_see_the_average(blobs, monkeypatch):
    seen = []

    def judge(self, images, labels):
        seen.append(float(images[0, 0, 0, 0]))
        return [0.5, 0.6, 0.9, 0.7, 0.7][len(seen) - 1]

    monkeypatch.setattr(Judge, "__call__", judge)
    task = Task(blobs(), 1, width=4, val=blobs(seed=1))
    made = run(task, blobs, count, iterations=10, looks=5, patience=0, average=0.5)
    assert seen == [2.0, 4.0, 6.0, 7.0, 8.0]
    assert float(made.images[0, 0, 0, 0]) == 6


def test_an_average_begins_again_after_trouble(blobs):
    def advance(state, pace, generator):
        bad = math.nan if float(state.images[0, 0, 0, 0]) == 18 and pace == 1 else pace
        return Advance(State(state.images + bad, state.velocity), 0.0, "")

    made = run(Task(blobs(), 1, width=4), blobs, advance, iterations=20, average=0.75)
    # Back from the nineteenth to iteration 10, then ten of half a step: 10.5 to 15.
    assert torch.equal(made.images, torch.full_like(made.images, 12.75))


@pytest.mark.parametrize("counts", [(4, 4, 4), (9, 0, 0), (9, 4, 0)])
def test_too_few_validation_images_choose_nothing(counts, blobs):
    events = []
    task = Task(blobs(), 1, width=4, val=blobs(counts), on_event=events.append)
    made = run(task, blobs, count, iterations=4, looks=2)
    assert float(made.images[0, 0, 0, 0]) == 4
    assert any("too few validation images" in e.message for e in events)


def test_a_judge_prefers_the_real_thing_to_noise(blobs):
    images = blobs((12, 12, 12))
    judge = Judge.of(Task(images, 1, width=8, val=blobs((12, 12, 12), seed=1)), "dc")
    noise = torch.randn((36, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    real = judge(images.pixels(), images.targets())
    assert real == judge(images.pixels(), images.targets())
    assert real > judge(noise, images.targets()) + 0.1


@pytest.mark.parametrize(("matched", "judged"), [(128, 32), (32, 32), (8, 8)])
def test_a_judge_is_never_wider_than_it_need_be(matched, judged, blobs):
    assert Judge.of(Task(blobs(), 1, width=matched, val=blobs(seed=1)), "dc").network.width == judged


def test_a_judge_scores_several_labels(blobs):
    images = blobs((20, 20, 20), multilabel=True)
    judge = Judge.of(Task(images, 1, width=4, val=blobs((20, 20, 20), multilabel=True, seed=1)), "dc")
    assert 0 <= judge(images.pixels(), images.targets()) <= 1


def test_a_judge_leaves_out_what_there_is_too_little_of(blobs):
    images = blobs((12, 12, 12))
    assert Judge.of(Task(images, 1, width=4, val=blobs((9, 3, 8))), "dc").scored.tolist() == [0, 2]
    nothing = dataclasses.replace(blobs((9, 9), multilabel=True), labels=np.zeros((18, 2), np.int64))
    assert Judge.of(Task(blobs((9, 9), multilabel=True), 1, width=4, val=nothing), "dc") is None


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_are_scored_however_large_the_others(seed, blobs, monkeypatch):
    monkeypatch.setattr("fedistill.methods.engine.quality.MOST", 60)
    judge = Judge.of(Task(blobs(), 1, width=4, val=blobs((300, 6, 200)), seed=seed), "dc")
    assert len(judge.labels) == 60 and judge.scored.tolist() == [0, 1, 2]


def test_broken_images_are_worth_nothing(blobs):
    judge = Judge.of(Task(blobs(), 1, width=4, val=blobs()), "dc")
    assert judge(torch.full((3, 1, 8, 8), math.nan), torch.arange(3)) == 0


def test_looks_that_were_gone_back_on_are_forgotten(blobs, monkeypatch):
    looking(monkeypatch, [0.6, 0.9, 0.7, 0.8, 0.8])
    tripped = []

    def advance(state, pace, generator):
        bad = math.nan if float(state.images[0, 0, 0, 0]) == 8 and pace == 1 else 1
        tripped.append(bad)
        return Advance(State(state.images + bad, state.velocity), 0.0, "")

    task = Task(blobs(), 1, width=4, val=blobs(seed=1))
    made = run(task, blobs, advance, iterations=9, looks=3, patience=0)
    # Looks after 3 and 6 (0.6, 0.9), trouble in 9 and back to the start; of the three that follow the last is chosen.
    assert float(made.images[0, 0, 0, 0]) == 9 and len(tripped) == 18


def test_a_checkpoint_is_written_every_so_often(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    kept = KeptCheckpoints(Store(tmp_path))
    seen = []

    def watch(event):
        seen.append(len(list(tmp_path.rglob("*.safetensors"))))

    task = Task(blobs(), 1, width=4, on_event=watch, checkpoints=kept)
    run(task, blobs, count, iterations=3)
    assert seen == [0, 1, 1]
    kept.drop()
    assert not list(tmp_path.rglob("*.safetensors"))
