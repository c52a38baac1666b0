"""holdings.csv: who held what, class by class; and the licences of what they held."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from fedistill.config import Federation, Holdings
from fedistill.study.preflight import Source

COLUMNS = ["partition", "site", "split", "class", "images", "site_images"]


def divided(federation: Federation, held: Sequence[Holdings]) -> pd.DataFrame:
    """A row a redraw, site, split and class.

    Args:
        held: who holds what, a redraw after another.

    Returns:
        ``partition, site, split`` (train, val or held_out), ``class``, ``images`` of it, and ``site_images``, of all
        classes: less than their sum where an image has several labels. What no site holds is a row without site and
        class.
    """
    return pd.DataFrame(_rows(federation, held), columns=COLUMNS)


def _rows(federation: Federation, held: Sequence[Holdings]) -> Iterator[dict[str, Any]]:
    for number, holdings in enumerate(held):
        if not holdings.shares:
            continue  # deployed: what the sites hold is not known here
        for site, share in zip(federation.sites, holdings.shares, strict=True):
            for split in ("train", "val", "held_out"):
                images = getattr(share, split)
                about = {"partition": number, "site": site, "split": split, "site_images": len(images)}
                for name, count in zip(images.class_names, images.counts().tolist(), strict=True):
                    yield {**about, "class": name, "images": count}
        for split, count in zip(("train", "val"), holdings.unheld, strict=True):
            if count:
                yield {"partition": number, "site": "", "split": split, "class": "", "images": count}


def licences(sources: Iterable[Source]) -> dict[str, str]:
    """The licence of every data set, as the data themselves give it; empty where nobody said."""
    return {each.name: each.licence for each in sources}
