"""results.csv, a row for each network, and sites.csv, a row for each site and budget."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme import EVERYONE, scheme_named
from fedistill.schemes.server.condition import Result
from fedistill.schemes.server.federated_eval import SiteScore
from fedistill.schemes.server.site_row import SiteRow
from fedistill.training.metrics import METRICS, score

OWN = "local"
"""The scheme that gains at sites are relative to, also those of private training."""


def results_table(simulation: Simulation, dataset: str, labels: np.ndarray, scored: Sequence[Result]) -> pd.DataFrame:
    """Return results.csv, a row for each network, in the order of the simulation's file.

    ``dataset`` is the name of the test data; ``labels``, int64 (N,) or (N, L), are those of the official test split.
    """
    rows: list[dict[str, Any]] = []
    strong = "strong" in simulation.recipes
    lines = dict.fromkeys((each.condition.scheme, each.condition.ipc, each.condition.rounds) for each in scored)
    promises = {line: scheme_named(line[0]).guarantee(simulation, *line[1:]) for line in lines}
    for each in scored:
        condition = each.condition
        for network, probabilities in enumerate(each.probabilities):
            by = each.recipes[network]
            metrics, shared = score(labels, probabilities), each.shared[network]
            promise = promises[condition.scheme, condition.ipc, condition.rounds]
            rows.append(
                {
                    "simulation": simulation.name,
                    "dataset": dataset,
                    "federation": simulation.federation.name,
                    "partition": condition.partition,
                    "scheme": condition.scheme,
                    "ipc": condition.ipc,
                    "rounds": condition.rounds,
                    "pool_ipc": None if shared.ipc is None else round(shared.ipc, 6),
                    "seed": condition.seed,
                    "recipe": condition.recipe,
                    "model": condition.model,
                    "site": condition.site,
                    "left_out": condition.left_out,
                    "network": network,
                    **{metric: metrics[metric] for metric in METRICS},
                    "n_sites": len(shared.sites),
                    "images_shared": shared.images,
                    "bytes_shared": shared.release_bytes,
                    "bytes_up": shared.up,
                    "bytes_down": shared.down,
                    "epsilon": np.nan if promise is None else promise.epsilon,
                    "delta": np.nan if promise is None else promise.delta,
                    "lr": by.lr,
                    "steps": each.steps[network],
                    **({"optimiser": by.optimiser, "mix": by.mix} if strong else {}),
                    "distill_seconds": round(shared.seconds, 3),
                    "train_seconds": round(each.train_seconds[network], 3),
                }
            )
    frame = pd.DataFrame(rows)
    for column in ("ipc", "rounds", "images_shared"):
        frame[column] = frame[column].astype("Int64")
    return frame


def sites_table(simulation: Simulation, rows: Sequence[SiteRow], scores: Sequence[SiteScore]) -> pd.DataFrame:
    """Return sites.csv: what each site shared for each budget, and its scores of a condition's networks.

    It has a row for each site and condition if sites score networks, else for each site and budget. ``gain_auc`` is the
    difference to the site's own local network of the same number, mean over networks; blank if there is none. Where a
    site did not score what it was asked to, ``test_why`` says why.
    """
    schemes, names = list(simulation.scheme), [*simulation.federation.sites, EVERYONE]
    ordered = sorted(
        rows, key=lambda r: (r.partition, schemes.index(r.scheme), r.seed, names.index(r.site), r.ipc or 0)
    )
    keys = ["partition", "site", "scheme", "ipc", "seed"]
    given = pd.DataFrame(
        [{k: v for k, v in vars(row).items() if k != "stored"} for row in ordered],
        columns=[field.name for field in fields(SiteRow) if field.name != "stored"],
    )
    for column in ("ipc", "images_shared", "bytes_shared", "classes_shared"):
        given[column] = given[column].astype("Int64")
    if not scores:
        return given
    scored = _site_scores(scores)
    frame = given.merge(scored, on=keys, how="outer")
    place = {scheme: i for i, scheme in enumerate(schemes)}
    order = frame.assign(scheme=frame["scheme"].map(place), site=frame["site"].map(names.index))
    frame = frame.loc[order.sort_values(["partition", "scheme", "seed", "ipc", "rounds", "site"], kind="stable").index]
    return frame.reset_index(drop=True)


def _site_scores(scores: Sequence[SiteScore]) -> pd.DataFrame:
    """Return a row for each condition and site: means over networks, and the gain over the site's own networks."""
    own = {
        (row.condition.partition, row.condition.model, row.site, row.network): row.auc
        for row in scores
        if row.condition.scheme == OWN
    }
    lines: dict[tuple[Any, ...], list[SiteScore]] = {}
    for row in scores:
        lines.setdefault((row.condition, row.site), []).append(row)
    records, refused = [], any(row.why for row in scores)
    for (condition, site), group in lines.items():
        gains = [row.auc - own.get((condition.partition, condition.model, site, row.network), np.nan) for row in group]
        is_own = condition.scheme == OWN
        records.append(
            {
                "partition": condition.partition,
                "site": site,
                "scheme": condition.scheme,
                "ipc": condition.ipc,
                "seed": condition.seed,
                "rounds": condition.rounds,
                "model": condition.model,
                "recipe": condition.recipe,
                "left_out": condition.left_out,
                "test_images": group[0].images,
                "test_auc": float(np.mean([row.auc for row in group])),
                "test_accuracy": float(np.mean([row.accuracy for row in group])),
                "test_balanced_accuracy": float(np.mean([row.balanced_accuracy for row in group])),
                "gain_auc": np.nan if is_own else float(np.mean(gains)),
                **({"test_why": group[0].why} if refused else {}),
            }
        )
    frame = pd.DataFrame(records)
    for column in ("ipc", "rounds", "test_images"):
        frame[column] = frame[column].astype("Int64")
    return frame
