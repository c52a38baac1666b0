"""How Releases are put together: each class or each site as often as the rule says, nothing lost, draws apart."""

import pytest
import torch

from fedistill.config import load_simulation
from fedistill.schemes.server.pooling import MOST, pool_positions
from fedistill.study import run

LABELS = torch.tensor([0, 0, 0, 1, 0, 1, 2])
SITES = torch.tensor([0, 0, 0, 0, 1, 1, 1])


def counts(at, of):
    return torch.bincount(of[at]).tolist()


def test_concat_takes_each_once():
    assert pool_positions("concat", LABELS, SITES, None, ()).tolist() == list(range(7))


def test_balanced_classes_are_equal_and_nothing_is_lost():
    at = pool_positions("balanced", LABELS, SITES, None, ())
    assert counts(at, LABELS) == [4, 4, 4] and set(at.tolist()) == set(range(7))
    assert sorted(at[LABELS[at] == 1].tolist()) == [3, 3, 5, 5]  # each as often as the others of its class


def test_weighted_sites_are_as_their_real_images():
    at = pool_positions("weighted", LABELS, SITES, None, (100, 600))
    # Four images stand for 100, three for 600: eight times as many each.
    assert counts(at, SITES) == [4, 24] and counts(at, torch.arange(7)) == [1, 1, 1, 1, 8, 8, 8]


def test_a_tiny_site_does_not_fill_the_memory():
    at = pool_positions("weighted", LABELS, SITES, None, (1, 1_000_000))
    assert counts(at, SITES) == [4, 3 * MOST]


def test_each_draw_is_weighed_by_itself():
    draw = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    at = pool_positions("balanced", LABELS, SITES, draw, ())
    assert counts(at[draw[at] == 0], LABELS) == [3, 0, 3] and counts(at[draw[at] == 1], LABELS) == [2, 2]


def test_several_labels_cannot_be_balanced():
    several = torch.eye(7)
    assert pool_positions("balanced", several, SITES, None, ()).tolist() == list(range(7))


@pytest.mark.parametrize("pooling", ["balanced", "weighted"])
def test_a_study_trains_on_it(tmp_path, pooling):
    path = tmp_path / "pools.toml"
    path.write_text("""
networks = 2
width = 4
ipc = [2]
[federation]
name = "two"
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
partition = { by = "sizes", sizes = [0.8, 0.2] }
policy = { allow_real_images = true }
[recipe]
steps = 4
max_steps = 4
lr = 0.01
[scheme.random]
[scheme.full]
""")
    plain = run(load_simulation(str(path)), out=tmp_path / "plain", engine="inline")
    changed = run(load_simulation(str(path), changes=[f"pooling='{pooling}'"]), out=tmp_path / "it", engine="inline")
    assert changed.rows["images_shared"].tolist() == plain.rows["images_shared"].tolist()
    by_scheme = {name: group["auc"].tolist() for name, group in changed.rows.groupby("scheme")}
    before = {name: group["auc"].tolist() for name, group in plain.rows.groupby("scheme")}
    # Two images of each class at each site are balanced as they come; by weight, the site of four fifths counts more.
    # All images are weighted as they come; by class, the rarer is repeated.
    kept, moved = ("random", "full") if pooling == "balanced" else ("full", "random")
    assert by_scheme[kept] == before[kept] and by_scheme[moved] != before[moved]
