"""Pool: the releases the server accepted for one (scheme, ipc, seed), as one training set."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import torch
from torch import Tensor

from fedistill.core.store import key_of
from fedistill.release.release import Release, sha256, unpack
from fedistill.schemes.server.pooling import chosen


@dataclass(frozen=True, eq=False)
class Pool:
    """What global networks are trained on.

    Args:
        images: float32 (N, C, H, W); labels: int64 (N,) or float32 (N, L).
        draw: int64 (N,), which draw an image belongs to, where each network trains on its own; else None.
        lr: the learned step size, the sites' geometric mean; else None.
        classes: of the label space.
        sites: names, in the federation's order.
        missing: why the other sites are not in it, by name.
        name: SHA-256 of everything in it.
        bytes_shared: of the sites' Releases with this budget alone, encoded; one draw of it where there are several.
        images_shared: likewise.
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

    @property
    def ipc(self) -> float:
        """Images per class in the pool: four sites at ipc 10 are not one at ipc 10."""
        return self.images_shared / self.classes

    def of_network(self, index: int) -> tuple[Tensor, Tensor]:
        """The images and labels that network number ``index`` trains on."""
        if self.draw is None:
            return self.images, self.labels
        mine = self.draw == index
        return self.images[mine], self.labels[mine]

    def of_networks(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What networks train on side by side: the same, (N, ...), or each its own draw, (networks, N, ...)."""
        if self.draw is None:
            return self.images, self.labels
        images, labels = zip(*[self.of_network(index) for index in indices], strict=True)
        return torch.stack(images), torch.stack(labels)  # every draw has as many images


def build_pool(
    releases: Sequence[Release],
    ipc: int | None,
    missing: dict[str, str],
    *,
    classes: int,
    by: str = "concat",
    examples: Sequence[int] = (),
) -> Pool:
    """Join one budget of several sites' Releases, in the order given.

    Args:
        by: ``concat``, ``balanced`` or ``weighted``, as `fedistill.schemes.server.pooling` has it.
        examples: real images that each Release was made of, for ``weighted``.
    """
    sets = [unpack(release.sets[ipc], ipc) for release in releases]
    draws = [s.draw for s in sets if s.draw is not None]
    rates = [s.lr for s in sets if s.lr is not None]
    alone = [release.only(ipc).to_bytes() for release in releases]
    # What a site would send for a single network: one draw of a random subset, not one for each network.
    single = [release.only(ipc, draw=0) for release in releases]
    draw = torch.cat(draws) if len(draws) == len(sets) else None
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
    )


def join(
    sets: Sequence[tuple[Tensor, Tensor]], *, by: str, examples: Sequence[int], draw: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, labels and their positions in the sets one after another.

    Args:
        sets: images (N, C, H, W) and labels of every site, in the federation's order.
        by, examples, draw: as `fedistill.schemes.server.pooling.chosen` has them.
    """
    labels = torch.cat([y for _, y in sets])
    site_of = torch.repeat_interleave(torch.tensor([len(y) for _, y in sets]))
    at = chosen(by, labels, site_of, draw, examples)
    return torch.cat([x for x, _ in sets])[at], labels[at], at
