import math

import pytest
import torch
from oracles import mtt as oracle

from fedistill.errors import RunError, SettingError
from fedistill.methods import Task, distill
from fedistill.methods.engine import sgd, unroll
from fedistill.methods.engine.unroll import trajectory_gradient
from fedistill.methods.engine.unroll_recorded import RecordedTrajectory
from fedistill.methods.experts import epoch_shape, train
from fedistill.methods.mtt import batches, mtt, next_log_lr
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.models import ConvNet
from fedistill.training import augment

SMALL = {"iterations": 3, "experts": 2, "epochs": 5, "expert_epochs": 2, "max_start_epoch": 3, "syn_steps": 3}


def problem(*, channels=1, size=8, steps=8, batch=3):
    """A tiny network in float64, six synthetic images, overlapping mini-batches."""
    generator = torch.Generator().manual_seed(0)
    net = ConvNet(channels=channels, classes=3, size=size, width=4, depth=2)
    start = net.init(generator, torch.float64)
    target = tuple(p + 0.05 * torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in start)
    images = torch.randn(6, channels, size, size, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    at = [torch.randperm(6, generator=generator)[:batch] for _ in range(steps)]
    draws = [augment.draw(generator, batch, size=size, mirror=True) for _ in range(steps)]
    return (net, start, target, images, labels, 0.05), at, draws


def away(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16])
def test_exact_gradient_equals_the_whole_unroll(augmented, channels, size):
    arguments, at, draws = problem(channels=channels, size=size, steps=12 if augmented else 7)
    if augmented:
        assert len({d.op for d in draws}) > 3
        replay = {"augment": lambda i, x: augment.apply(x, draws[i])}
    else:
        draws, replay = [None] * len(at), {}
    loss, by_images, by_lr = oracle.trajectory_gradient(*arguments, batches=at, **replay)
    some = 3 * unroll.KEPT * 8 * arguments[0].activations * 3  # three steps' graphs
    for graphs in (0, some, unroll.GRAPHS):
        found = trajectory_gradient(*arguments, batches=at, draws=draws, graphs=graphs)
        assert away(found.images, by_images) < 1e-8
        assert away(found.lr, by_lr) < 1e-8
        assert away(found.loss, loss) < 1e-10


def test_batches_cover_the_set_and_recur():
    found = batches(6, 4, 5, torch.Generator().manual_seed(0))
    assert [len(b) for b in found] == [4, 2, 4, 2, 4]
    assert torch.cat(found[:2]).sort().values.tolist() == list(range(6))
    assert all(torch.equal(b, torch.arange(6)) for b in batches(6, None, 3, torch.Generator()))


def test_a_segment_is_five_times_the_synthetic_steps():
    for n in (1, 20, 182, 546, 4708, 90_000):
        steps, batch = epoch_shape(n, MTTSettings())
        assert 3 * steps >= 100 and steps * batch >= min(n, steps) and batch <= min(n, 256)
    assert epoch_shape(4708, MTTSettings(batch_expert=64)) == (74, 64)


def test_an_expert_is_sgd_counted_in_steps(blobs):
    settings = MTTSettings(**SMALL, augment=False)
    task = Task(blobs(), None, width=4)
    path = train(task, settings, 0)
    assert path.shape[0] == 5  # the starts 0, 1, 2 and two epochs after the last of them
    steps, batch = epoch_shape(24, settings)
    assert batch == 24  # whole batches: each step is the plain gradient step
    net = task.network()
    params = sgd.fresh(sgd.unflatten(path[0], net.init(torch.Generator())))
    for _ in range(steps):
        sgd.step(net, params, task.images.pixels(), task.images.targets(), 0.01)
    torch.testing.assert_close(sgd.flatten(params), path[1], rtol=1e-4, atol=1e-5)


def test_experts_are_trained_once_for_two_budgets(blobs):
    asked = []

    def remember(kind, settings, make):
        asked.append((kind, settings["expert"]))
        return make()

    distill(blobs(), method="mtt", ipc=[1, 2], width=4, settings=SMALL, remember=remember)
    assert asked == [("experts", 0), ("experts", 1)]


@pytest.mark.parametrize("lr_lr", [1e6, 1e-5, 0.0])
def test_the_step_size_stays_positive(blobs, lr_lr):
    made = mtt(Task(blobs(), 1, width=4), MTTSettings(**SMALL | {"iterations": 8}, lr_lr=lr_lr, lr_img=1.0))
    assert made.lr is not None and 0.01 / 100.1 <= made.lr <= 0.01 * 100.1
    assert torch.isfinite(made.images).all()


def test_the_published_lr_lr_moves_the_logarithm():
    settings = MTTSettings()
    moved = next_log_lr(math.log(0.01), 0.02, settings)  # d lr = -1e-5 * (0.02 / 0.01), so d log lr = -0.002
    assert moved - math.log(0.01) == pytest.approx(-0.002)


def test_the_loss_falls(blobs):
    events = []
    settings = MTTSettings(
        iterations=30, experts=1, epochs=10, expert_epochs=2, max_start_epoch=1, syn_steps=4, lr_img=30.0, augment=False
    )
    mtt(Task(blobs((20, 20, 20)), 1, width=8, on_event=events.append), settings)
    losses = [float(e.message.split()[1].rstrip(",")) for e in events if e.stage == "mtt ipc 1"]
    assert losses[-1] < 0.8 * losses[0]


def test_no_finite_gradient_is_an_error_that_teaches(blobs):
    with pytest.raises(RunError, match="smaller lr_img"):
        mtt(Task(blobs(), 1, width=4), MTTSettings(**SMALL | {"iterations": 40}, lr_img=1e38))


def test_segments_past_the_end_of_training_are_refused():
    with pytest.raises(SettingError, match="set epochs = 23"):
        MTTSettings(epochs=22)


def test_difficulty_alignment_moves_the_window_of_starts():
    settings = MTTSettings(iterations=10, min_start_epoch=3, current_max_start_epoch=5, max_start_epoch=9, epochs=12)
    assert [settings.start_epochs(done) for done in (0, 5, 10)] == [range(3, 5), range(3, 7), range(3, 9)]
    assert MTTSettings().start_epochs(0) == MTTSettings().start_epochs(4999) == range(20)


@pytest.mark.parametrize(("low", "first"), [(4, 4), (9, None), (0, 10)])
def test_an_empty_window_is_refused(low, first):
    with pytest.raises(SettingError, match="no epoch for a segment"):
        MTTSettings(min_start_epoch=low, current_max_start_epoch=first, max_start_epoch=9)


def test_segments_start_inside_the_window(blobs, monkeypatch):
    starts = []
    original = unroll.trajectory_gradient

    def spy(net, start, target, *args, **kwargs):
        starts.append(sgd.flatten(start))
        return original(net, start, target, *args, **kwargs)

    monkeypatch.setattr("fedistill.methods.mtt.trajectory_gradient", spy)
    settings = MTTSettings(**SMALL | {"experts": 1, "iterations": 8}, min_start_epoch=1, current_max_start_epoch=2)
    task = Task(blobs(), 1, width=4)
    mtt(task, settings)
    path = train(task, settings, 0)
    epochs = [next(e for e in range(5) if torch.equal(path[e], start)) for start in starts]
    assert set(epochs) == {1, 2} and epochs[0] == 1


@pytest.mark.parametrize("augmented", [False, True])
def test_an_expert_in_buffers_is_the_expert(augmented, blobs, monkeypatch):
    """The form that GPUs take, on this processor."""
    settings = MTTSettings(**SMALL, augment=augmented, batch_expert=7)
    task = Task(blobs(), None, width=4)
    path = train(task, settings, 1)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    torch.testing.assert_close(train(task, settings, 1), path, rtol=1e-4, atol=1e-5)
    assert not torch.equal(train(task, settings, 0), path)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("size", [8, 16])
def test_the_recorded_trajectory_equals_the_whole_unroll(augmented, size):
    """The form that GPUs take, on this processor; buffers are used again, so twice, from two starts."""
    (net, start, target, images, labels, lr), at, draws = problem(channels=3, size=size, steps=7)
    at[3] = at[3][:2]  # a last batch of an epoch may be shorter
    draws[3] = augment.draw(torch.Generator().manual_seed(5), 2, size=size, mirror=True)
    replay = {"augment": lambda i, x: augment.apply(x, draws[i])} if augmented else {}
    shown = draws if augmented else [None] * len(at)
    recorded = RecordedTrajectory(net, "float32")
    for begin in (start, tuple(0.9 * p for p in start)):
        wanted = oracle.trajectory_gradient(net, begin, target, images, labels, lr, batches=at, **replay)
        found = recorded(begin, target, images, labels, lr, batches=at, draws=shown)
        for a, b in zip((found.loss, found.images, found.lr), wanted, strict=True):
            assert away(a, b) < 1e-8


def test_mtt_in_buffers_makes_the_same_images(blobs, monkeypatch):
    settings = MTTSettings(**SMALL, lr_img=1.0)
    one = mtt(Task(blobs(), 1, width=4), settings)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    two = mtt(Task(blobs(), 1, width=4), settings)
    torch.testing.assert_close(two.images, one.images, rtol=1e-4, atol=1e-4)
    assert two.lr == pytest.approx(one.lr, rel=1e-4) and two.lr != 0.01
