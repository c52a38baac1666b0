"""Classes split into clusters: equally large, never a handful of images, each matched with its own images."""

import numpy as np
import pytest
import torch
from oracles import dc as oracle

from fedistill.core import seeds
from fedistill.methods import Task
from fedistill.methods.dc import DCSettings, dc
from fedistill.methods.dm import DMSettings, dm
from fedistill.methods.engine.clusters import ClusterSettings, clusters_held
from fedistill.methods.engine.early import networks
from fedistill.methods.engine.method import classes_held
from fedistill.methods.engine.start import start


def test_a_class_is_cut_into_equal_clusters_that_lie_together(blobs):
    images = blobs((96, 41))
    held = clusters_held(images, 10, ClusterSettings(5, 16))
    assert len(held) == 10
    for c, at in enumerate(classes_held(images)):
        mine = held[5 * c : 5 * c + 5] if len(at) == 96 else held[5:6]
        assert sorted(torch.cat(mine).tolist()) == at.tolist()  # every image in one cluster, of its class
        sizes = [len(part) for part in mine]
        assert max(sizes) - min(sizes) <= 2
    coarse = torch.nn.functional.adaptive_avg_pool2d(images.pixels(), 8).flatten(1)
    within = sum(float(coarse[part].var(0, correction=0).sum()) * len(part) for part in held[:5]) / 96
    assert within < 0.95 * float(coarse[:96].var(0, correction=0).sum())


def test_the_order_of_the_images_does_not_matter(blobs):
    images = blobs((64,))
    order = np.random.default_rng(0).permutation(64)
    one = clusters_held(images, 4, ClusterSettings(4, 16))
    other = [torch.from_numpy(order)[part] for part in clusters_held(images.take(order), 4, ClusterSettings(4, 16))]
    assert [sorted(a.tolist()) for a in one] == [sorted(b.tolist()) for b in other]


@pytest.mark.parametrize(
    ("counts", "each", "asked", "sizes"),
    [
        ((64, 64), 10, 1, [64, 64]),
        ((64, 64), 1, 8, [64, 64]),  # one image a class matches the whole class
        ((64, 64), 10, 4, [32] * 4),  # ten images are shared by two clusters, not by four
        ((64, 31), 4, 4, [16] * 4 + [31] * 4),  # a class too small is not cut, and listed as often
        ((64, 40), 4, 4, [16] * 4 + [20] * 4),
        ((5, 0, 3), 4, 4, [5] * 4 + [3] * 4),
    ],
)
def test_no_cluster_is_a_handful_of_images(blobs, counts, each, asked, sizes):
    assert [len(part) for part in clusters_held(blobs(counts), each, ClusterSettings(asked, 16))] == sizes


def test_equal_images_are_cut_as_well(blobs):
    one = blobs((1,))
    same = one.take([0] * 32)
    assert [len(part) for part in clusters_held(same, 2, ClusterSettings(2, 16))] == [16, 16]


def test_several_labels_are_cut_as_one_group_whose_images_carry_the_cluster_s_labels(blobs):
    images = blobs((30, 30), multilabel=True)
    begun = start(Task(images, 4, width=4), "real", torch.Generator().manual_seed(0), ClusterSettings(2, 8))
    assert [len(at) for at in begun.held] == [30, 30] and begun.groups == [slice(0, 4), slice(4, 8)]
    for at, mine in zip(begun.held, begun.groups, strict=True):
        known = {tuple(row) for row in images.labels[at.numpy()].tolist()}
        assert {tuple(int(v) for v in row) for row in begun.labels[mine].tolist()} <= known


def test_a_real_start_takes_no_image_twice_while_there_are_others(blobs):
    images = blobs((64, 8))
    begun = start(Task(images, 8, width=4), "real", torch.Generator().manual_seed(0), ClusterSettings(4, 8))
    assert len(begun.groups) == 8
    assert len({tuple(x.flatten().tolist()) for x in begun.images}) == 16


def test_dm_brings_each_cluster_s_images_to_its_own_mean(blobs):
    images = blobs((12, 9))
    settings = DMSettings(iterations=1, clusters=2, smallest_cluster=3, augment=False, lr_img=0.5)
    task = Task(images, 4, width=4)
    made = dm(task, settings).images

    begun = start(task, "noise", seeds.generator(0, "dm", 4, "start"), settings)
    net, params = task.network(), networks(task, settings)(seeds.generator(0, "dm", 4, "step", 0, 0))
    x = begun.images.clone().requires_grad_()
    far = sum(
        (net.embed(params, x[mine]).mean(0) - net.embed(params, images.pixels()[at]).mean(0)).square().sum()
        for at, mine in zip(begun.held, [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)], strict=True)
    )
    [gradient] = torch.autograd.grad(far, x)
    torch.testing.assert_close(made, begun.images - 0.5 * gradient, rtol=1e-4, atol=1e-5)


def test_dc_brings_each_cluster_s_gradient_to_its_own(blobs):
    images, settings = blobs((12, 9)), DCSettings(iterations=1, outer=1, clusters=2, smallest_cluster=3, lr_img=0.5)
    task = Task(images, 4, width=4)
    made = dc(task, settings).images

    begun = start(task, "noise", seeds.generator(0, "dc", 4, "start"), settings)
    net, params = task.network(), networks(task, settings)(seeds.generator(0, "dc", 4, "step", 0, 0))
    reals = [(images.pixels()[at], images.targets()[at]) for at in begun.held]
    parts = [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)]
    _, gradients = oracle.image_gradient(net, params, reals, [(begun.images[p], begun.labels[p]) for p in parts])
    torch.testing.assert_close(made, begun.images - 0.5 * torch.cat(gradients), rtol=1e-4, atol=1e-4)
