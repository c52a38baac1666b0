"""holdings.csv: the images of each site by class; and the licences of the data."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from fedistill.config import Federation, Holdings
from fedistill.study.preflight import SourceSet

COLUMNS = ["partition", "site", "split", "class", "images", "site_images"]


def holdings_table(federation: Federation, redraws: Sequence[Holdings]) -> pd.DataFrame:
    """Return a row for each redraw of the partition, site, split and class.

    Returns:
        ``partition, site, split`` (train, val or held_out), ``class``, ``images`` of it, and ``site_images`` of all
        classes, which is less than their sum if images have several labels. Images that no site holds are a row
        without site and class.
    """
    return pd.DataFrame(_rows(federation, redraws), columns=COLUMNS)


def _rows(federation: Federation, redraws: Sequence[Holdings]) -> Iterator[dict[str, Any]]:
    for number, holdings in enumerate(redraws):
        if not holdings.shares:
            continue  # deployed: the sites' data are unknown here
        for site, share in zip(federation.sites, holdings.shares, strict=True):
            for split in ("train", "val", "held_out"):
                images = getattr(share, split)
                about = {"partition": number, "site": site, "split": split, "site_images": len(images)}
                for name, count in zip(images.class_names, images.counts().tolist(), strict=True):
                    yield {**about, "class": name, "images": count}
        for split, count in zip(("train", "val"), holdings.unheld, strict=True):
            if count:
                yield {"partition": number, "site": "", "split": split, "class": "", "images": count}


def licences(sources: Iterable[SourceSet]) -> dict[str, str]:
    """Return the licence of every data set, as given in its data; empty if unknown."""
    return {each.name: each.licence for each in sources}
