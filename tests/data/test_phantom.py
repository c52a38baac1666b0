"""Phantoms: the numbers of their sets, the same pictures every time, and a problem of the right difficulty."""

import numpy as np
import pytest
import torch

from fedistill.core.seeds import generator, rng
from fedistill.data import ImageSet, load_dataset
from fedistill.data.facts import FACTS
from fedistill.data.sources.phantom import draw, split_sizes
from fedistill.errors import DataError
from fedistill.models import build, objective

SHORT = [known.phantom for known in FACTS.values()]


@pytest.mark.parametrize("name", SHORT)
def test_a_phantom_has_the_numbers_of_its_set(name):
    known = FACTS[name.removeprefix("phantom:") + "mnist"]
    train = draw(name, images=60)
    assert train.images.shape == (60, 28, 28, known.channels) and train.class_names == known.class_names
    assert (train.task, train.mirror, train.multilabel) == (known.task, known.mirror, known.multilabel)
    assert train.counts().min() >= 1
    assert 20 < train.images.mean() < 240 and train.images.std() > 15
    assert len({picture.tobytes() for picture in train.images}) == 60


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("size", [8, 33, 64])
def test_a_phantom_can_be_drawn_at_any_size(name, size):
    assert draw(name, "val", size=size, images=20).images.shape[1:3] == (size, size)


def test_the_default_sizes_and_mix():
    train, test = load_dataset("phantom:blood"), load_dataset("phantom:blood", "test")
    assert (len(train), len(load_dataset("phantom:blood", "val")), len(test)) == (1200, 172, 600)
    assert np.abs(train.counts() - np.array(FACTS["bloodmnist"].counts) * 1200 / 11959).max() <= 1
    assert draw("phantom:pneumonia", "test").counts().tolist() == [225, 375]  # the real test split's own mix
    assert split_sizes(FACTS["octmnist"])["test"] == 600 and split_sizes(FACTS["octmnist"], 97477)["test"] == 1000


def test_the_same_arguments_give_the_same_pictures():
    a, b = (draw("phantom:blood", images=40, seed=3) for _ in range(2))
    assert a.fingerprint() == b.fingerprint()
    assert a.fingerprint() == draw("phantom:bloodmnist", images=40, seed=3).fingerprint()
    assert a.fingerprint() != draw("phantom:blood", images=40, seed=4).fingerprint()


def test_no_picture_is_in_two_splits():
    drawn = [{p.tobytes() for p in draw("phantom:tissue", split, images=200).images} for split in ("train", "test")]
    assert not drawn[0] & drawn[1]


def test_global_random_state_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_before = torch.get_rng_state()
    draw("phantom:blood", images=20)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_what_cannot_be_drawn_is_explained():
    with pytest.raises(DataError, match="did you mean 'phantom:blood'"):
        draw("phantom:blod")
    with pytest.raises(DataError, match="8 to 1024"):
        draw("phantom:blood", size=4)
    with pytest.raises(DataError, match="an image of every class"):
        draw("phantom:blood", images=7)
    with pytest.raises(DataError, match="did you mean 'test'"):
        draw("phantom:blood", "tst")


def _accuracy(part: ImageSet, test: ImageSet, *, steps: int, seed: int) -> float:
    """Of a ConvNet of width 32: SGD 0.01, momentum 0.9, weight decay 5e-4, batch 64, batches turned and mirrored."""
    random = generator(seed, "fit")
    net = build("convnet", channels=3, classes=8, size=28, width=32)
    params = tuple(p.requires_grad_() for p in net.init(random))
    optimizer = torch.optim.SGD(params, lr=0.01, momentum=0.9, weight_decay=5e-4)
    x, y = part.pixels(), part.targets()
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < min(64, len(x)):
            order = torch.randperm(len(x), generator=random)
        at, order = order[:64], order[64:]
        turn = int(torch.randint(8, (), generator=random))
        batch = torch.rot90(x[at], turn % 4, (2, 3))
        batch = batch.flip(3) if turn > 3 else batch
        optimizer.zero_grad()
        objective(net(params, batch), y[at]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((net(params, test.pixels()).argmax(1) == test.targets()).float().mean())


def _few(train: ImageSet, per_class: int, seed: int) -> ImageSet:
    random = rng(seed, "few")
    picks = [random.permutation(np.flatnonzero(train.labels == k))[:per_class] for k in range(train.n_classes)]
    return train.take(np.concatenate(picks))


@pytest.mark.slow
def test_blood_is_learnable_from_all_of_it_and_hard_from_little():
    train, test = load_dataset("phantom:blood"), load_dataset("phantom:blood", "test")
    one = np.mean([_accuracy(_few(train, 1, seed), test, steps=150, seed=seed) for seed in range(5)])
    ten = np.mean([_accuracy(_few(train, 10, seed), test, steps=120, seed=seed) for seed in range(5)])
    full = _accuracy(train, test, steps=600, seed=0)
    print(f"phantom:blood: one per class {one:.3f}, ten {ten:.3f}, all {full:.3f}")
    assert 0.20 <= one <= 0.35
    assert 0.45 <= ten <= 0.65
    assert 0.85 <= full <= 0.95
