"""The tables of a run: those of a sweep's points as one, with a column for each swept setting."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedistill.config import Plan
from fedistill.schemes.rounds import curve_table
from fedistill.study.folder.run_folder import RunFolder
from fedistill.study.orchestrator import Study
from fedistill.study.preflight import Ready
from fedistill.study.tables.comparison import comparison
from fedistill.study.tables.guarantees import guarantees
from fedistill.study.tables.holdings_table import divided
from fedistill.study.tables.privacy_tables import privacy, roc
from fedistill.study.tables.rows import results, sites
from fedistill.study.tables.sources import by_source


def write_tables(
    plan: Plan, studies: Sequence[Study], ready: Sequence[Ready], folder: RunFolder
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write results, comparison, sites, holdings, traffic, sources where the test split has several, rounds where there
    were any, guarantees where any scheme gives one, privacy and roc where there was an audit; return the first three.
    """
    rows, compared, by_site, attacked = [], [], [], []
    for study, data in zip(studies, ready, strict=True):
        simulation, labels = study.simulation, data.test.labels
        dataset = " + ".join(Path(name).name for name in simulation.federation.datasets())
        rows.append(results(simulation, dataset, labels, study.scored))
        by_site.append(sites(simulation, study.site_rows, study.at_sites))
        compared.append(comparison(simulation, labels, study.scored, rows[-1], by_site[-1]))
        attacked.append(privacy(study.audit, dataset))
    same_test = len({id(data.test) for data in ready}) == 1
    joined = (
        together(plan, rows, after="simulation"),
        with_one_majority(plan, together(plan, compared), same_test=same_test),
        together(plan, by_site),
    )
    folder.results(joined[0])
    folder.table("comparison", joined[1])
    folder.table("sites", joined[2])
    held = [divided(s.simulation.federation, data.divided) for s, data in zip(studies, ready, strict=True)]
    folder.table("holdings", together(plan, held))
    if any(len(data.sources) > 1 for data in ready):
        found = [by_source(data.test.labels, data.sources, s.scored) for s, data in zip(studies, ready, strict=True)]
        folder.table("sources", together(plan, found))
    traffic = [pd.DataFrame(study.ctx.coordinator.traffic.rows()) for study in studies]
    folder.table("traffic", together(plan, traffic))
    if any(len(each) for each in attacked):
        folder.table("privacy", together(plan, attacked))
        folder.table("roc", together(plan, [roc(study.audit) for study in studies]))
    promised = [guarantees(study.simulation) for study in studies]
    if any(len(each) for each in promised):
        folder.table("guarantees", together(plan, promised))
    curves = [curve_table(study.ctx.curves) if study.ctx.curves else pd.DataFrame() for study in studies]
    if any(len(each) for each in curves):
        folder.table("rounds", together(plan, curves))
    return joined


def together(plan: Plan, frames: Sequence[pd.DataFrame], *, after: str | None = None) -> pd.DataFrame:
    """The points' tables, one below the other; a single simulation's table as it is.

    Args:
        frames: a table a point.
        after: the column that the swept settings' columns follow; they come first unless given.
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


def with_one_majority(plan: Plan, compared: pd.DataFrame, *, same_test: bool) -> pd.DataFrame:
    """A sweep's comparison without the repeats of its ``majority`` line, which is one line where the test split is one.

    Args:
        same_test: whether all points are tested on the same images.
    """
    if not plan.sweep or not same_test:
        return compared
    majority = compared["scheme"] == "majority"
    compared = compared[~majority | (majority.cumsum() == 1)].reset_index(drop=True)
    for name in plan.columns()[0]:
        # Such a line belongs to no point, as it belongs to no model or recipe.
        column = compared[name].astype("Int64" if compared[name].dtype.kind == "i" else compared[name].dtype)
        compared[name] = column.where(compared["scheme"] != "majority", None)
    return compared
