"""dp-mean: its space is public, its one question is a sum of vectors no longer than 1, and its fit comes near."""

import pytest
import torch

from fedistill.core import seeds
from fedistill.methods import METHODS, Task, distill, privacy_statement, settings_for
from fedistill.methods.private.dp_mean import SPACE, DPMeanSettings, shrunk_means
from fedistill.methods.private.noise import COUNT, ROOM
from fedistill.methods.private.public_space import phantoms, public_space
from fedistill.models import build

FEW = {"width": 4, "axes": 4, "coarse": 4}


def space_of(*, share=0.5, axes=4, seed=0):
    net = build("convnet", channels=1, classes=2, size=8, width=4)
    params = net.init(seeds.generator(seed, "dp-mean", "network", 0))
    return net, params, public_space(net, params, channels=1, size=8, coarse=4, axes=axes, share=share, whiten=0.5)


def plain(seen, pub, x, axes, weight):
    """The space's coordinates by an eigendecomposition, up to signs: their products are compared."""
    centre = pub.mean(0)
    values, vectors = torch.linalg.eigh((pub - centre).double().T @ (pub - centre).double())
    order = torch.argsort(values, descending=True)[:axes]
    spread = values[order].sqrt()
    z = (x - centre).double() @ vectors[:, order] / (spread / spread[0]).sqrt()
    return weight**0.5 * z / z.norm(dim=1, keepdim=True)


def test_the_space_is_public_axes_of_public_images(blobs):
    x = blobs((5, 5)).pixels()
    net, params, space = space_of(share=0.3)
    pub = phantoms(1, 8)
    with torch.no_grad():
        found = space(x)
        pools = [torch.nn.functional.avg_pool2d(each, 2).flatten(1) for each in (pub, x)]
        embeds = [net.embed(params, each) for each in (pub, x)]
        wanted = torch.cat([plain(None, *pools, 4, 0.3), plain(None, *embeds, 4, 0.7)], 1)
    assert found.shape == (10, 8)
    torch.testing.assert_close((found @ found.T).double(), wanted @ wanted.T, rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.norm(dim=1), torch.ones(10), atol=1e-5)


def test_a_share_of_one_or_none_leaves_a_part_out(blobs):
    x = blobs((2, 2)).pixels()
    for share, axes in ((0.0, 4), (1.0, 4), (0.5, 8)):
        with torch.no_grad():
            assert space_of(share=share)[2](x).shape[1] == axes


def test_an_image_s_word_depends_on_that_image_alone(blobs):
    x = blobs((3, 3)).pixels()
    space = space_of()[2]
    with torch.no_grad():
        assert torch.allclose(space(x[:1]), space(x)[:1], atol=1e-5)


def answers_of(images, **more):
    kept = {}

    def remember(kind, detail, make):
        kept[kind] = make()
        kept["about"] = detail
        return kept[kind]

    METHODS["dp-mean"].run(Task(images, 1, remember=remember), DPMeanSettings(iterations=1, **FEW, **more))
    return kept["noisy"]["sums"], kept["about"]


def test_without_noise_it_asks_for_class_sums_in_the_space(blobs):
    x = blobs((9, 7))
    sums, _ = answers_of(x, epsilon=1000.0)
    space = space_of()[2]
    with torch.no_grad():
        told = space(x.pixels())
    for c in range(2):
        mine = told[torch.from_numpy(x.labels == c)]
        assert torch.allclose(sums[0, c, :-1], ROOM * mine.sum(0), atol=0.2)
        assert float(sums[0, c, -1]) == pytest.approx(COUNT * len(mine), abs=0.2)


def test_one_image_more_moves_the_answer_by_one_at_most(blobs):
    """The bound that the noise is for, on the very sums, for images of any brightness."""
    x = blobs((9, 7))
    for value in (0, 255):
        more = x.take(list(range(16)))
        more.images[3] = value
        less = more.take([i for i in range(16) if i != 3])
        (one, _), (other, _) = (answers_of(each, epsilon=1000.0) for each in (more, less))
        # The same seed draws the same noise: what is left is the image.
        assert float((one - other).norm()) <= 1 + 1e-4


def test_settings_of_the_space_are_part_of_what_was_asked(blobs):
    _, about = answers_of(blobs((9, 7)), epsilon=1000.0)
    assert {name: about["settings"][name] for name in SPACE} == {
        "coarse": 4,
        "axes": 4,
        "share": 0.5,
        "whiten": 0.5,
    }
    chosen = settings_for("dp-mean", {"epsilon": 3.0})
    assert chosen.asked() != settings_for("dp-mean", {"epsilon": 3.0, "axes": 8}).asked()
    assert "1 noisy sum, each over all of them" in privacy_statement("dp-mean", [chosen])
    both = privacy_statement("dp-mean", [chosen, settings_for("dp-mean", {"epsilon": 3.0, "axes": 8})])
    assert both.count("1 noisy sum") == 2  # two questions, both paid for


def test_the_fit_comes_as_near_as_the_noise_and_no_nearer(blobs):
    x, told = blobs((40, 40)), []
    made = distill(
        x,
        method="dp-mean",
        ipc=4,
        settings={**FEW, "axes": 12, "iterations": 80, "grain": 1, "pack": 1, "epsilon": 1000.0},
    )
    real = [x.pixels()[torch.from_numpy(x.labels == c)].mean(0) for c in range(2)]
    mine = [made.images[made.labels == c].mean(0) for c in range(2)]
    apart = torch.nn.functional.cosine_similarity((real[1] - real[0]).flatten(), (mine[1] - mine[0]).flatten(), dim=0)
    assert apart > 0.5
    settings = {**FEW, "axes": 12, "iterations": 80, "grain": 1, "pack": 1, "epsilon": 3.0}
    distill(x, method="dp-mean", ipc=4, settings=settings, on_event=told.append)
    assert [event.loss for event in told if event.loss is not None][-1] == 0  # near enough, and it stopped there


def test_noise_is_taken_for_noise():
    """Over many draws the shrunk means are nearer to the true ones than the noisy ones, and as near as is said."""
    random = torch.Generator().manual_seed(0)
    true = 0.3 * torch.randn((1, 2, 40), generator=random) / 40**0.5
    counts, noise, errors = torch.tensor([50.0, 200.0]), 3.0, []
    for _ in range(200):
        sums = true * counts[:, None] + noise * torch.randn(true.shape, generator=random)
        means, expected = shrunk_means(sums, counts, noise)
        plain = (sums / counts[:, None] - true).square().sum(2).mean()
        errors.append((float((means - true).square().sum(2).mean()), float(plain), expected))
    shrunk, plain, expected = torch.tensor(errors).mean(0).tolist()
    assert shrunk < 0.75 * plain and expected == pytest.approx(shrunk, rel=0.25)
