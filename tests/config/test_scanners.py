"""Hospitals that differ: scanners in federation files, applied to all that a site holds and to nothing else."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from fedistill.config import everything, holdings, load_federation, load_plan, load_simulation, test_sets
from fedistill.config.partition_rule import ByNothingElse
from fedistill.core.seeds import spawn
from fedistill.data import acquire, concatenate
from fedistill.data.facts import FACTS
from fedistill.errors import PlanError
from fedistill.report.terminal.plan import print_holdings

PLAIN = """
dataset = "phantom:{set}"
images = 60
sites = ["a", "b", "c"]
partition = {{ by = "iid", seed = 3 }}
held_out = 0.25
"""
SHIFTED = """
[site.b.scanner]
gain = 1.2
noise = 0.05
[site.c.scanner]
noise = 0.05
"""


def federation(folder, more="", of="pneumonia"):
    path = folder / "mine.toml"
    path.write_text(PLAIN.format(set=of) + more)
    return load_federation(str(path))


def test_a_scanner_takes_all_that_its_site_holds_and_no_test_image(tmp_path):
    plain, shifted = federation(tmp_path), federation(tmp_path, SHIFTED)
    before, after = (holdings(each, 0, None) for each in (plain, shifted))
    for share, taken, name in zip(before.shares, after.shares, "abc", strict=True):
        scanner = shifted.of(name).scanner
        for part, split in (("train", "train"), ("val", "val"), ("held_out", "train")):
            images, got = getattr(share, part), getattr(taken, part)
            assert len(images) and np.array_equal(images.labels, got.labels)
            if scanner is not None:
                images = acquire(images, scanner, spawn(3, "scanner", name, split))
            assert got.fingerprint() == images.fingerprint()
    assert [each.fingerprint() for each in test_sets(shifted, None)] == [
        each.fingerprint() for each in test_sets(plain, None)
    ]
    pooled = concatenate([share.train for share in after.shares])
    assert everything(after).train.fingerprint() == pooled.fingerprint()  # `full` pools what the scanners took


def test_reading_twice_is_the_same_and_sites_and_seeds_are_not(tmp_path):
    shifted = federation(tmp_path, SHIFTED)
    first, again = (holdings(shifted, 0, None) for _ in range(2))
    assert [s.train.fingerprint() for s in first.shares] == [s.train.fingerprint() for s in again.shares]

    grey = {f"{split}_images": np.full((12, 28, 28), 128, np.uint8) for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.arange(12).reshape(-1, 1) % 2 for split in ("train", "val", "test")}
    np.savez(tmp_path / "grey.npz", **grey, **labels)

    def noise_on_grey(seed, redraw):
        """What every site makes of one and the same image."""
        of_file = {
            "dataset": str(tmp_path / "grey.npz"),
            "images": None,
            "partition": ByNothingElse(by="iid", seed=seed),
        }
        taken = holdings(shifted.model_copy(update=of_file), redraw, None).shares
        return [share.train.images[0] / (1.2 if name == "b" else 1) for name, share in zip("abc", taken, strict=True)]

    a, b, c = noise_on_grey(3, 0)
    assert a.std() == 0 and b.std() > 5 and c.std() > 5 and abs(np.corrcoef(b.ravel(), c.ravel())[0, 1]) < 0.15
    assert np.array_equal(noise_on_grey(3, 1)[2], c)  # a redraw deals images out anew and leaves them as they are
    assert abs(np.corrcoef(noise_on_grey(4, 0)[2].ravel(), c.ravel())[0, 1]) < 0.15


def test_a_scanner_can_be_swept_and_set_and_is_written_down(tmp_path):
    one = "federation.site.north.scanner.gain"
    plan = load_plan("quickstart", changes=[f"sweep.{one}=[1.0, 1.5]"])
    assert [point.simulation.federation.of("north").scanner.gain for point in plan.points] == [1.0, 1.5]
    colour = "federation.dataset='phantom:blood'"
    stain = "federation.site.east.scanner={stain=[0.1, 0, -0.1], blur=1}"
    changed = load_simulation("quickstart", changes=[colour, stain])
    scanner = changed.federation.of("east").scanner
    assert scanner.stain == (0.1, 0, -0.1) and str(scanner) == "blur 1.0, stain 0.1 0.0 -0.1"
    again = type(changed.federation).model_validate(changed.federation.model_dump(mode="json", exclude_none=True))
    assert again == changed.federation
    assert holdings(again, 0, None).shares[1].train.images.any()


def test_a_federation_shown_says_how_its_scanners_differ(tmp_path):
    def shown(more):
        console = Console(width=100, record=True, file=StringIO())
        asked = federation(tmp_path, more)
        print_holdings(asked, holdings(asked, 0, None), console)
        return console.export_text()

    text = shown(SHIFTED)
    for line in ("a: as published", "b: gain 1.2, noise 0.05", "c: noise 0.05"):
        assert f"  {line}\n" in text
    assert "canner" not in shown("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gain=0", "site.north.scanner.gain is invalid.\n  expected: at least 0.1"),
        ("gain=11", "expected: at most 10"),
        ("gain='1.2'", "site.north.scanner.gain is invalid"),
        ("gain=nan", "finite numbers"),
        ("gamma=-1", "scanner.gamma"),
        ("contrast=0.0", "scanner.contrast"),
        ("blur=10.5", "expected: at most 10"),
        ("blur=inf", "finite numbers"),
        ("noise=0.51", "expected: at most 0.5"),
        ("noise=true", "scanner.noise"),
        ("resolution=0", "expected: at least 0.1"),
        ("resolution=1.5", "expected: at most 1"),
        ("stain=[0.1, 0.1]", "scanner.stain"),
        ("stain=[0.1, 0.1, 2]", "scanner.stain.2 is invalid.\n  expected: at most 1"),
        ("stain=0.1", "scanner.stain"),
        ("gian=1.2", "did you mean 'gain'"),
    ],
)
def test_a_scanner_that_cannot_be_is_a_wrong_file(change, message):
    with pytest.raises(PlanError) as raised:
        load_simulation("quickstart", changes=[f"federation.site.north.scanner.{change}"])
    assert message in str(raised.value) and raised.value.exit_code == 2


@pytest.mark.parametrize("stain", ["[0.1, 0.0, 0.0]", "[0.0, 0.0, 0.0]"])
def test_a_stain_is_for_colours(tmp_path, stain):
    more = f"[site.b.scanner]\nstain = {stain}\n"
    with pytest.raises(PlanError, match=r"site\.b\.scanner shifts the stain of grey images[\s\S]*leave out stain"):
        holdings(federation(tmp_path, more), 0, None)
    assert len(holdings(federation(tmp_path, more, of="path"), 0, None).shares) == 3


def test_ten_uneven_hospitals_are_uneven_in_size_and_mix():
    uneven = load_federation("ten-uneven", phantom=True)
    for redraw in range(2):
        held = holdings(uneven, redraw, None)
        counts = np.stack([share.train.counts() for share in held.shares])
        sizes = counts.sum(1)
        assert len(sizes) == 10 and sizes.min() >= 20 and sizes[0] > 0.25 * sizes.sum() and held.unheld == (0, 0)
        mixes = counts / sizes[:, None]
        assert np.abs(mixes - counts.sum(0) / sizes.sum()).sum(1).max() > 0.7  # of at most 2
        assert (counts == 0).any()  # some lack a class


def test_hospitals_with_unlike_scanners_include_one_without():
    shifted = load_federation("scanner-shift", phantom=True)
    scanners = [shifted.of(name).scanner for name in shifted.sites]
    assert scanners[0] is None and all(each.changes for each in scanners[1:])
    held = holdings(shifted, 0, None)
    assert all(len(share.held_out) for share in held.shares)
    plain = holdings(shifted.model_copy(update={"site": {}}), 0, None)
    for k, (share, taken) in enumerate(zip(plain.shares, held.shares, strict=True)):
        moved = np.abs(share.train.images.astype(int) - taken.train.images).mean()
        assert moved == 0 if k == 0 else 3 < moved < 50  # visible and moderate


def test_hospitals_that_bring_a_view_each_share_their_labels():
    names = ("organamnist", "organcmnist", "organsmnist")
    assert len({(FACTS[name].class_names, FACTS[name].task, FACTS[name].channels) for name in names}) == 1
    assert load_federation("one-set-each").datasets() == list(names)
    views = load_federation("one-set-each", phantom=True)
    held = holdings(views, 0, None)
    assert len(everything(held).train) == 3600 and len({share.train.fingerprint() for share in held.shares}) == 3
    assert sum(map(len, test_sets(views, None))) > 1800  # every hospital's view of the official test splits
