"""What is missing from a run's tables, in words: for the command that ran it, and for every later reader."""

import pandas as pd


def missing_releases(by_site: pd.DataFrame) -> list[str]:
    """Return a line for what each site was asked for and did not share, and why.

    Args:
        by_site: sites.csv.
    """
    failed = by_site[by_site["status"].notna() & (by_site["status"] != "shared")]
    lines = []
    for (site, scheme, why), group in failed.groupby(["site", "scheme", "why"], sort=False, dropna=False):
        seeds = ", ".join(f"{seed:g}" for seed in sorted(group["seed"].dropna().unique()))
        lines.append(f"{site} gave no {scheme} (seed {seeds}): {why}")
    return lines


def unheld(holdings: pd.DataFrame) -> list[str]:
    """Return a line for the images of each split that no site holds in the first division of the data.

    Args:
        holdings: holdings.csv of one point of a sweep.
    """
    if holdings.empty:
        return []
    nobodys = holdings[holdings["site"].isna() & (holdings["partition"] == holdings["partition"].min())]
    titles = {"train": "training", "val": "validation"}
    counts = zip(nobodys["split"], nobodys["images"], strict=True)
    words = "images are held by no site under this rule, and took no part."
    return [f"{int(count):,} {titles.get(str(split), str(split))} {words}" for split, count in counts]
