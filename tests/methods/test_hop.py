"""HoP-TM's terms on MTT: against the whole unroll in float64, and what they do to the loop."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from methods.test_mtt import away, problem
from oracles import mtt as oracle

from fedistill.core.store import KeptCheckpoints, Store
from fedistill.errors import SettingError
from fedistill.methods import Task, settings_for
from fedistill.methods.engine import sgd, unroll
from fedistill.methods.engine.arrival import Terms, corners, with_terms
from fedistill.methods.engine.unroll import trajectory_gradient
from fedistill.methods.engine.unroll_recorded import RecordedTrajectory
from fedistill.methods.experts import train
from fedistill.methods.mtt import mtt
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.training import augment

SMALL = {"iterations": 4, "experts": 1, "epochs": 5, "expert_epochs": 3, "max_start_epoch": 2, "syn_steps": 3}
HOP = {"lamb": 0.5, "base_threshold": 1e-6, "growing_factor": 1.5}


def hop_problem(*, lamb, masked, steps=7, channels=1, size=8):
    """A segment, the expert's weights halfway, and an earlier mask; the threshold makes half of the weights near."""
    arguments, at, draws = problem(channels=channels, size=size, steps=steps)
    _, start, target, *_ = arguments
    generator = torch.Generator().manual_seed(7)
    middle = tuple((p + t) / 2 + 0.02 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
                   for p, t in zip(start, target, strict=True))  # fmt: skip
    earlier = torch.rand(len(sgd.flatten(start)), generator=generator) < 0.1
    terms = Terms(middle, lamb, 1e-3 if masked else None, earlier if masked else None)
    return arguments, at, draws, terms


def plain(arguments, at, terms, matched, replay):
    hop = oracle.Hop(terms.halfway, terms.lamb, None if matched is None else matched.double())
    return oracle.trajectory_gradient(*arguments, batches=at, hop=hop, **replay)


@pytest.mark.parametrize(("lamb", "masked"), [(0.5, False), (0.0, True), (0.5, True), (2.0, True)])
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_exact_gradient_with_terms_equals_the_whole_unroll(lamb, masked, steps):
    arguments, at, draws, terms = hop_problem(lamb=lamb, masked=masked, steps=steps, channels=3)
    some = 3 * unroll.KEPT * 8 * arguments[0].activations * 3  # three steps' graphs
    for graphs in (0, some, unroll.GRAPHS):
        found = trajectory_gradient(*arguments, batches=at, draws=draws, terms=terms, graphs=graphs)
        wanted = plain(arguments, at, terms, found.matched, {"augment": lambda i, x: augment.apply(x, draws[i])})
        for a, b in zip((found.loss, found.images, found.lr), wanted, strict=True):
            assert away(a, b) < 1e-8
    assert (found.matched is not None) == masked


def test_every_term_changes_the_gradient():
    arguments, at, draws, both = hop_problem(lamb=0.5, masked=True)
    kinds = [None, Terms(both.halfway, 0.5), dataclasses.replace(both, lamb=0.0), both]
    found = [trajectory_gradient(*arguments, batches=at, draws=draws, terms=terms).images for terms in kinds]
    assert all(away(one, other) > 1e-3 for i, one in enumerate(found) for other in found[:i])


def test_terms_of_no_weight_are_the_distance():
    arguments, at, draws, terms = hop_problem(lamb=0.0, masked=False)
    one = trajectory_gradient(*arguments, batches=at, draws=draws)
    two = trajectory_gradient(*arguments, batches=at, draws=draws, terms=terms)
    assert away(two.images, one.images) < 1e-12 and away(two.loss, one.loss) < 1e-12


@pytest.mark.parametrize(("lamb", "masked"), [(0.5, False), (0.5, True)])
def test_the_recorded_trajectory_takes_the_terms(lamb, masked):
    """The form that GPUs take, on this processor; buffers are used again, so twice, from two starts."""
    (net, start, *rest), at, draws, terms = hop_problem(lamb=lamb, masked=masked, channels=3, size=16)
    recorded = RecordedTrajectory(net, "float32")
    for begin in (start, tuple(0.9 * p for p in start)):
        found = recorded(begin, *rest, batches=at, draws=draws, terms=terms)
        replay = {"augment": lambda i, x: augment.apply(x, draws[i])}
        wanted = plain((net, begin, *rest), at, terms, found.matched, replay)
        for a, b in zip((found.loss, found.images, found.lr), wanted, strict=True):
            assert away(a, b) < 1e-8
        direct = trajectory_gradient(net, begin, *rest, batches=at, draws=draws, terms=terms)
        assert direct.matched is None or torch.equal(found.matched, direct.matched)


def params(*numbers):
    return tuple(torch.tensor([n], dtype=torch.float64) for n in numbers)


def test_weights_near_once_stay_matched():
    start, end, target = params(0, 0, 0, 0), params(1, 1, 1, 1), params(1.01, 1.2, 2, 5)
    earlier = torch.tensor([False, False, True, False])
    found = with_terms(start, start, end, target, Terms(start, threshold=0.05, matched=earlier))
    assert found.matched.tolist() == [True, True, True, False]
    assert found.loss == pytest.approx((0.01**2 + 0.2**2 + 1) / (1.01**2 + 1.2**2 + 2**2))
    assert [float(g != 0) for g in found.by_end] == [1, 1, 1, 0]


def test_while_no_weight_is_near_nothing_is_asked():
    start, end, target = params(0, 0), params(1, 1), params(2, 2)
    found = with_terms(start, start, end, target, Terms(start, threshold=1e-9))
    assert not found.matched.any() and found.loss == 0
    assert all(float(g) == 0 for g in found.by_end)


def test_corners_of_a_right_angle():
    cosines = corners(params(0, 0), params(3, 0), params(3, 4))
    assert cosines.tolist() == pytest.approx([3 / 5, 0, 4 / 5])


def test_a_network_that_did_not_move_has_a_finite_gradient():
    start, middle, target = params(0, 0), params(1, 0), params(1, 1)
    found = with_terms(start, start, start, target, Terms(middle, lamb=1.0))
    assert all(torch.isfinite(g).all() for g in (found.loss, *found.by_end, *found.by_halfway))


def test_the_threshold_grows_as_published():
    settings = MTTSettings(iterations=10_000, base_threshold=5e-9, growing_factor=1.5)
    for done in (0, 499, 500, 9_999):
        assert settings.threshold(done) == pytest.approx(5e-9 * 1.5 ** (done // 500))
    assert MTTSettings().threshold(0) is None


@pytest.mark.parametrize("short", ["syn_steps", "expert_epochs"])
def test_angles_need_a_middle(short):
    with pytest.raises(SettingError, match="has no middle"):
        MTTSettings(lamb=0.5, **{short: 1})


def test_the_upper_bound_of_the_start_may_be_reached_early():
    window = {"min_start_epoch": 0, "current_max_start_epoch": 2, "max_start_epoch": 6}
    settings = MTTSettings(iterations=100, **window, expansion_end_epoch=50)
    assert [settings.start_epochs(done).stop for done in (0, 25, 50, 99)] == [2, 4, 6, 6]
    with pytest.raises(SettingError, match="no end to rise to"):
        MTTSettings(expansion_end_epoch=50)


def test_halfway_is_the_experts_epoch_in_the_middle(blobs, monkeypatch):
    asked = []
    original = unroll.trajectory_gradient

    def spy(*args, terms, **kwargs):
        found = original(*args, terms=terms, **kwargs)
        asked.append((sgd.flatten(args[1]), terms, found.matched))
        return found

    monkeypatch.setattr("fedistill.methods.mtt.trajectory_gradient", spy)
    settings, task = MTTSettings(**SMALL | HOP, lr_img=1.0), Task(blobs(), 1, width=4)
    mtt(task, settings)
    path = train(task, settings, 0)
    for start, terms, _ in asked:
        first = next(e for e in range(5) if torch.equal(path[e], start))
        assert torch.equal(sgd.flatten(terms.halfway), path[first + 1])
    assert [terms.threshold for _, terms, _ in asked] == [settings.threshold(i) for i in range(4)]
    assert asked[0][1].matched is None
    for (_, _, left), (_, terms, now) in pairwise(asked):
        assert torch.equal(terms.matched, left) and bool((now | ~left).all())


class Stop(BaseException):
    """What a signal's handler raises."""


def test_matched_weights_outlive_a_stop(blobs, tmp_path):
    settings = MTTSettings(**SMALL | HOP | {"iterations": 6}, lr_img=10.0)
    store = Store(tmp_path)
    task = Task(blobs(), 2, width=4)
    whole = mtt(task, settings)
    kept = dataclasses.replace(task, remember=store.remember, checkpoints=KeptCheckpoints(store))

    def stopping(event):
        if event.stage == "mtt ipc 2" and event.step == 3:
            raise Stop

    with pytest.raises(Stop):
        mtt(dataclasses.replace(kept, on_event=stopping), settings)
    events = []
    made = mtt(dataclasses.replace(kept, on_event=events.append), settings)
    assert torch.equal(made.images, whole.images) and made.lr == whole.lr
    shares = [e.message for e in events if e.stage == "mtt ipc 2"]
    assert len(shares) == 3 and all("% of weights matched" in share for share in shares)


def test_in_buffers_the_same_images(blobs, monkeypatch):
    settings, task = MTTSettings(**SMALL | HOP, lr_img=1.0, start="noise"), Task(blobs(), 1, width=4)
    one = mtt(task, settings)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    two = mtt(task, settings)
    torch.testing.assert_close(two.images, one.images, rtol=1e-4, atol=1e-4)


def test_terms_are_off_unless_asked_for():
    for ipc in (1, 10, 50):
        found = settings_for("mtt", ipc=ipc)
        assert (found.lamb, found.base_threshold) == (0.0, None)
