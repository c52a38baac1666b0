"""The tables of a run; those of a sweep's points are joined, with a column for each swept setting."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedistill.config import Plan
from fedistill.schemes.server.round_history import curve_table
from fedistill.study.folder.run_folder import RunFolder
from fedistill.study.orchestrator import Study
from fedistill.study.preflight import PointData
from fedistill.study.tables.comparison import comparison_table
from fedistill.study.tables.guarantees import guarantees_table
from fedistill.study.tables.holdings_table import holdings_table
from fedistill.study.tables.privacy_tables import privacy_table, roc_table
from fedistill.study.tables.rows import results_table, sites_table
from fedistill.study.tables.sources import score_sources


def write_tables(
    plan: Plan, studies: Sequence[Study], ready: Sequence[PointData], folder: RunFolder
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write all tables of a run; return results, comparison and sites.

    These three, holdings and traffic are always written; the others if there is something in them: sources of a test
    split with several sets, rounds, guarantees, and privacy and roc of an audit.
    """
    rows, compared, by_site, leaks = [], [], [], []
    for study, data in zip(studies, ready, strict=True):
        simulation, labels = study.simulation, data.test.labels
        dataset = " + ".join(Path(name).name for name in simulation.federation.datasets())
        rows.append(results_table(simulation, dataset, labels, study.scored))
        by_site.append(sites_table(simulation, study.site_rows, study.at_sites))
        compared.append(comparison_table(simulation, labels, study.scored, rows[-1], by_site[-1]))
        leaks.append(privacy_table(study.audit, dataset))
    same_test = len({id(data.test) for data in ready}) == 1
    main = (
        join_points(plan, rows, after="simulation"),
        drop_repeated_majority(plan, join_points(plan, compared), same_test=same_test),
        join_points(plan, by_site),
    )
    folder.results(main[0])
    folder.table("comparison", main[1])
    folder.table("sites", main[2])
    holdings = [holdings_table(s.simulation.federation, data.holdings) for s, data in zip(studies, ready, strict=True)]
    folder.table("holdings", join_points(plan, holdings))
    if any(len(data.sources) > 1 for data in ready):
        by_source = [
            score_sources(data.test.labels, data.sources, s.scored) for s, data in zip(studies, ready, strict=True)
        ]
        folder.table("sources", join_points(plan, by_source))
    traffic = [pd.DataFrame(study.ctx.coordinator.traffic.rows()) for study in studies]
    folder.table("traffic", join_points(plan, traffic))
    if any(len(each) for each in leaks):
        folder.table("privacy", join_points(plan, leaks))
        folder.table("roc", join_points(plan, [roc_table(study.audit) for study in studies]))
    guarantees = [guarantees_table(study.simulation) for study in studies]
    if any(len(each) for each in guarantees):
        folder.table("guarantees", join_points(plan, guarantees))
    curves = [curve_table(study.ctx.curves) if study.ctx.curves else pd.DataFrame() for study in studies]
    if any(len(each) for each in curves):
        folder.table("rounds", join_points(plan, curves))
    return main


def join_points(plan: Plan, frames: Sequence[pd.DataFrame], *, after: str | None = None) -> pd.DataFrame:
    """Return the points' tables (one each in ``frames``) joined, or a single simulation's unchanged.

    The columns of the swept settings come after the column ``after``, else first.
    """
    if not plan.sweep:
        return frames[0]
    marked = []
    for frame, values in zip(frames, plan.columns(), strict=True):
        place = 0 if after is None else list(frame.columns).index(after) + 1
        frame = frame.copy()
        for i, (name, value) in enumerate(values.items()):
            frame.insert(place + i, name, value)
        marked.append(frame)
    return pd.concat(marked, ignore_index=True)


def drop_repeated_majority(plan: Plan, compared: pd.DataFrame, *, same_test: bool) -> pd.DataFrame:
    """Return a sweep's comparison with a single ``majority`` row if all points have the same test images."""
    if not plan.sweep or not same_test:
        return compared
    majority = compared["scheme"] == "majority"
    compared = compared[~majority | (majority.cumsum() == 1)].reset_index(drop=True)
    for name in plan.columns()[0]:
        # This row belongs to no point, model or recipe.
        column = compared[name].astype("Int64" if compared[name].dtype.kind == "i" else compared[name].dtype)
        compared[name] = column.where(compared["scheme"] != "majority", None)
    return compared
