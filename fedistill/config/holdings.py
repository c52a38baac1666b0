"""The holdings of all sites: a federation's data, divided in the same way on every machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedistill.config.federation import Federation
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet, acquire, concatenate, follow, hold_out, load_dataset, parse_source, partition
from fedistill.data.combine import alike, into
from fedistill.errors import DataError, PlanError

Remember = Callable[[str, Mapping[str, Any], Callable[[], dict[str, Tensor]]], dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Share:
    """The data of one site.

    Args:
        train: what it may make a Release of.
        val: its own validation images, by the same rule; may be empty.
        held_out: training images set aside before anything is made of them; may be empty.
    """

    train: ImageSet
    val: ImageSet
    held_out: ImageSet


@dataclass(frozen=True, eq=False)
class Holdings:
    """All sites' data, in the order of the federation's sites; and how many train and val images nobody holds."""

    shares: tuple[Share, ...]
    unheld: tuple[int, int]


def everything(held: Holdings) -> Share:
    """Return all sites' data as if one site held them."""
    parts = [[getattr(share, name) for share in held.shares] for name in ("train", "val", "held_out")]
    return Share(*[concatenate(each) for each in parts])


def holdings(federation: Federation, redraw: int, data_root: str | None, remember: Remember | None = None) -> Holdings:
    """Divide the federation's data.

    Args:
        federation: the sites, the data and the rule.
        redraw: which partition; 0 is the federation file's own seed.
        data_root: folder of MedMNIST files.
        remember: a store that keeps who holds what, for the partitioners' import alone takes seconds.

    Raises:
        DataError: data that cannot be had, a rule that does not fit them, or a site with nothing to train on.
        PlanError: a scanner that shifts the stain of grey images.
    """
    trains, vals = (_sets(federation, split, data_root) for split in ("train", "val"))
    if federation.divided:
        train, val = concatenate(trains), concatenate(vals)
        rule, seed = federation.partition.described(), federation.partition.seed
        seed = seed if redraw == 0 else spawn(seed, "redraw", redraw)
        sites = len(federation.sites)

        def make() -> dict[str, Tensor]:
            held = partition(train, rule, sites, seed=seed)
            val_held = follow(held, train, val, seed=spawn(seed, "val"))
            named = {f"train.{i}": part for i, part in enumerate(held.parts)}
            named |= {f"val.{i}": part for i, part in enumerate(val_held.parts)}
            named |= {"train.unheld": held.unheld, "val.unheld": val_held.unheld}
            return {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in named.items()}

        detail = {
            "rule": rule,
            "seed": seed,
            "sites": sites,
            "train": train.fingerprint(),
            "val": val.fingerprint(),
            "version": 1,
        }
        at = {name: part.numpy() for name, part in (remember or _forget)("partition", detail, make).items()}
        pairs = [(train.take(at[f"train.{i}"]), val.take(at[f"val.{i}"])) for i in range(sites)]
        unheld = (len(at["train.unheld"]), len(at["val.unheld"]))
    else:
        concatenate([train.take([]) for train in trains])  # raises where the sites' label spaces differ
        pairs = list(zip(trains, vals, strict=True))
        unheld = (0, 0)
    shares = []
    for name, pair in zip(federation.sites, pairs, strict=True):
        train, val = _scanned(federation, name, pair)
        kept, aside = hold_out(train, federation.held_out, seed=spawn(redraw, "held out", name))
        if len(train) and not len(kept):
            raise DataError(
                f"held_out = {federation.held_out:g} leaves {name!r} nothing to train on.",
                expected="a share that leaves images of its classes",
                found=f"all of its {len(train):,} training images are set aside",
                mend="lower held_out",
            )
        shares.append(Share(train.take(kept), val, train.take(aside)))
    return Holdings(tuple(shares), unheld)


def _scanned(federation: Federation, name: str, pair: tuple[ImageSet, ImageSet]) -> tuple[ImageSet, ImageSet]:
    """Return a site's train and val images as its scanner takes them.

    A redraw gives the site other images, not another scanner.
    """
    settings = federation.of(name).scanner
    if settings is None:
        return pair
    train, val = pair
    if settings.stain is not None and train.channels != 3:
        raise PlanError(
            f"Federation {federation.name!r}: site.{name}.scanner shifts the stain of grey images.",
            expected="RGB images",
            found=train.source,
            mend="leave out stain",
        )
    seed = federation.partition.seed
    return (
        acquire(train, settings, spawn(seed, "scanner", name, "train")),
        acquire(val, settings, spawn(seed, "scanner", name, "val")),
    )


def test_sets(federation: Federation, data_root: str | None) -> list[ImageSet]:
    """Return the official test split of each of the federation's sets, in one label space.

    They stay at the server; joined, they are the federation's test split.
    """
    return _sets(federation, "test", data_root)


def val_set(federation: Federation, data_root: str | None) -> ImageSet:
    """Return the official validation split as a whole, of all sets, where a coordinator has it."""
    return concatenate(_sets(federation, "val", data_root))


# Its name makes pytest take it for a test.
test_sets.__test__ = False  # type: ignore[attr-defined]


def _sets(federation: Federation, split: str, data_root: str | None) -> list[ImageSet]:
    """Return one split of each of the federation's sets, in one label space if they are combined."""
    names = federation.datasets()
    if federation.combine is None:
        return [_load(federation, name, split, data_root) for name in names]
    space = federation.combine.space()
    return alike([into(space, name, _load(federation, name, split, data_root)) for name in names])


def _load(federation: Federation, name: str, split: str, data_root: str | None) -> ImageSet:
    drawn = parse_source(name).drawn
    if not drawn and (federation.images is not None or federation.data_seed is not None):
        # Under --phantom they would mean something; on real data they would be passed over in silence.
        raise DataError(
            f"Federation {federation.name!r} sets images or data_seed, which only phantoms have.",
            found=name,
            mend="leave them out",
        )
    return load_dataset(
        name,
        split,
        size=federation.size,
        data_root=data_root,
        images=federation.images if drawn else None,
        seed=federation.data_seed if drawn else None,
    )


def _forget(kind: str, detail: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    return make()


KEPT_BYTES = 256 << 20
"""Pixels that `holdings_here` keeps: the data of a sweep's points, as long as they are small. The last are always."""

_kept: dict[str, Holdings] = {}


def holdings_here(federation: Federation, redraw: int, data_root: str | None, remember: Remember) -> Holdings:
    """Return `holdings`, cached in this process: a worker serves many sites' jobs one after another."""
    files = [path for name in federation.datasets() if (path := parse_source(name).path) is not None]
    changed = [file.stat().st_mtime_ns if file.is_file() else 0 for file in files]
    about = {"federation": federation.model_dump(mode="json"), "redraw": redraw, "root": data_root, "files": changed}
    key = key_of(about)
    if key not in _kept:
        _forget_large()  # before more are read
        _kept[key] = holdings(federation, redraw, data_root, remember)
    _kept[key] = _kept.pop(key)  # the last one used is the last one to go
    return _kept[key]


def _forget_large() -> None:
    """Let go of what was not used for longest until the rest is small."""
    while _kept and sum(map(_pixels, _kept.values())) > KEPT_BYTES:
        del _kept[next(iter(_kept))]


def _pixels(held: Holdings) -> int:
    """Return the bytes of all sites' images."""
    return sum(each.images.nbytes for share in held.shares for each in (share.train, share.val, share.held_out))
