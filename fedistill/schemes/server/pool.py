"""The pool: the Releases that the server accepted for one (scheme, ipc, seed), as one training set."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor

from fedistill.core.store import key_of
from fedistill.release.release import Release, sha256, unpack
from fedistill.schemes.server.pooling import pool_positions


@dataclass(frozen=True, eq=False)
class Pool:
    """The training set of global networks.

    Args:
        images: float32 (N, C, H, W), unpacked, as networks train on them.
        labels: int64 (N,) or float32 (N, L).
        draw: int64 (N,), number of each image's draw if every network trains on its own draw; else None.
        lr: geometric mean of the sites' learned step sizes; else None.
        classes: number of classes in the label space.
        sites: names, in the federation's order.
        missing: why the other sites are absent, by name.
        name: SHA-256 of the whole content.
        bytes_shared: size of the encoded Releases of this budget; with several draws, of one.
        images_shared: number of images as they travelled, likewise.
        soft: float32 (N, classes), the probabilities that networks train towards; None: the labels.
        origin: int64 (N,), which image of the Releases each is, where some are there several times by ``taught``; else
            None. Copies of an image stay together in cross-validation.
    """

    images: Tensor
    labels: Tensor
    draw: Tensor | None
    lr: float | None
    classes: int
    sites: tuple[str, ...]
    missing: dict[str, str]
    name: str
    bytes_shared: int
    images_shared: int
    soft: Tensor | None = None
    origin: Tensor | None = None

    @property
    def ipc(self) -> float:
        """Images per class in the whole pool: with four sites at ipc 10, up to 40."""
        return self.images_shared / self.classes

    def of_network(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the images and labels that network number ``index`` trains on."""
        if self.draw is None:
            return self.images, self.labels
        own = self.draw == index
        return self.images[own], self.labels[own]

    def soft_of(self, index: int) -> Tensor | None:
        """Return the soft labels of the images that network number ``index`` trains on; None if they are hard."""
        return self.soft if self.draw is None or self.soft is None else self.soft[self.draw == index]

    def origin_of(self, index: int) -> Tensor | None:
        """Return which image of the Releases each is that network number ``index`` trains on; None: all are others."""
        return self.origin if self.draw is None or self.origin is None else self.origin[self.draw == index]

    def of_networks(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return what several networks train on: shared, (N, ...), or one draw for each, (networks, N, ...).

        They are images and labels, soft ones if the pool has them.
        """
        if self.draw is None:
            return self.images, self.labels if self.soft is None else self.soft
        parts = [(*self.of_network(index), self.soft_of(index)) for index in indices]
        # Every draw has as many images.
        images, labels = zip(*[(x, y if soft is None else soft) for x, y, soft in parts], strict=True)
        return torch.stack(images), torch.stack(labels)


def build_pool(
    releases: Sequence[Release],
    ipc: int | None,
    missing: dict[str, str],
    *,
    classes: int,
    by: str = "concat",
    examples: Sequence[int] = (),
) -> Pool:
    """Join one budget of several sites' Releases, in the given order, into a pool.

    Args:
        releases: one for each site.
        ipc: the budget.
        missing: why other sites are absent, by name.
        classes: number of classes in the label space.
        by: ``concat``, ``balanced``, ``weighted`` or ``taught`` (see `fedistill.schemes.server.pooling`).
        examples: number of real images behind each Release, for ``weighted``; its level, for ``taught``.
    """
    sets = [unpack(release.sets[ipc], ipc).shown() for release in releases]
    draws = [s.draw for s in sets if s.draw is not None]
    rates = [s.lr for s in sets if s.lr is not None]
    alone = [release.only(ipc).to_bytes() for release in releases]
    # For a single network a site would send one draw of a random subset, not one for each network.
    single = [release.only(ipc, draw=0) for release in releases]
    draw = torch.cat(draws) if len(draws) == len(sets) else None
    soft = [s.soft for s in sets if s.soft is not None]
    images, labels, at = join([(s.images, s.labels) for s in sets], by=by, examples=examples, draw=draw)
    return Pool(
        images=images,
        labels=labels,
        draw=None if draw is None else draw[at],
        lr=exp(sum(map(log, rates)) / len(rates)) if len(rates) == len(sets) else None,
        classes=classes,
        sites=tuple(release.site for release in releases),
        missing=missing,
        name=key_of({"releases": [sha256(data) for data in alone], **({} if by == "concat" else {"at": at.tolist()})}),
        bytes_shared=sum(len(release.to_bytes()) for release in single),
        images_shared=sum(len(release.sets[ipc]) for release in single),
        soft=torch.cat(soft)[at] if soft and len(soft) == len(sets) else None,
        origin=at if by == "taught" else None,
    )


def join(
    sets: Sequence[tuple[Tensor, Tensor]], *, by: str, examples: Sequence[int], draw: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the images and labels of a pool, and their positions in the concatenated sets.

    ``sets`` are images float32 (N, C, H, W) and labels of every site, in the federation's order; for the rest see
    `fedistill.schemes.server.pooling.pool_positions`.
    """
    labels = torch.cat([y for _, y in sets])
    site_of = torch.repeat_interleave(torch.tensor([len(y) for _, y in sets]))
    at = pool_positions(by, labels, site_of, draw, examples)
    return torch.cat([x for x, _ in sets])[at], labels[at], at
