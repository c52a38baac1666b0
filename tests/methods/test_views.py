"""Views: real sides that are computed once and met again, by DM, DC and DSA."""

import pytest
import torch

from fedistill.methods import distill
from fedistill.methods.engine import groups, views

LIGHT = {"iterations": 7, "looks": 0, "clusters": 1, "batch_real": 4}
SETTINGS = {
    "dm": {**LIGHT, "early_networks": 1, "early_steps": 4},
    "dc": {**LIGHT, "outer": 2, "inner": 1},
    "dsa": {**LIGHT, "outer": 1},
}


def images(blobs, method, **settings):
    return distill(blobs(), method=method, ipc=2, width=4, settings={**SETTINGS[method], **settings}).images


@pytest.mark.parametrize("method", SETTINGS)
def test_what_is_kept_is_what_would_be_computed_again(blobs, monkeypatch, method):
    """With memory for none of the views, and for one of them, the images are the same bit for bit."""
    kept = images(blobs, method, views=3)
    for most in (0, 500 if method == "dm" else 8000):
        monkeypatch.setattr(views, "KEPT", most)
        assert torch.equal(images(blobs, method, views=3), kept)
    assert not torch.equal(images(blobs, method), kept)


@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_a_real_gradient_is_computed_once_for_each_view_and_class(blobs, monkeypatch, method):
    """Only DC's second step under a network, which the images have trained by then, asks for new ones."""
    counts = []
    real_gradient = groups.real_gradient

    def counted(*arguments, **named):
        counts.append(1)
        return real_gradient(*arguments, **named)

    monkeypatch.setattr(groups, "real_gradient", counted)
    images(blobs, method, views=2)
    once, again = 2 * 3, 7 * 3
    assert len(counts) == once + (again if method == "dc" else 0)


def test_two_views_are_two_networks_batches_and_augmentations(blobs):
    """Not one drawn twice: the first of two views alone gives other images than both."""
    assert not torch.equal(images(blobs, "dsa", views=1), images(blobs, "dsa", views=2))


def test_without_views_settings_keep_their_keys():
    """The field came later: while it has its default, no key and no Release names it."""
    from fedistill.core.ranges import detail
    from fedistill.methods.dm import DMSettings

    assert "views" not in detail(DMSettings()) and detail(DMSettings(views=8))["views"] == 8
