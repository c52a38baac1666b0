"""privacy.csv, the results of each attack, and roc.csv, its ROC curves on two logarithmic axes."""

from typing import Any

import pandas as pd

from fedistill.privacy.attacks.registry import SEEN
from fedistill.study.audit.auditing import Auditing, Verdict

POINTS = 200
"""Most points of a ROC curve."""

COLUMNS = (
    "simulation dataset federation site scheme ipc rounds epsilon delta start seen attack records auc auc_low auc_high "
    "tpr_at_1 tpr_low tpr_high tpr_at_01 tpr_at_01_low tpr_at_01_high members nonmembers shadows "
    "seed_known population_known members_known releases exposed exposed_low exposed_high"
).split()


def privacy_table(audit: Auditing, dataset: str) -> pd.DataFrame:
    """Return a row for each target and attack: AUC, true positives at 1 % and 0.1 % false positives, 95 % intervals.

    Beside them: how often the most exposed record is told, and what the attacker knew. A rate that too few non-members
    cannot resolve is blank, and so is a setting that the method does not have.
    """
    rows = []
    for verdict in audit.verdicts:
        for attack, leak in verdict.leaks.items():
            row = leak.row()
            row["tpr_low"], row["tpr_high"] = row.pop("tpr_at_1_low"), row.pop("tpr_at_1_high")
            about = {"simulation": audit.ctx.simulation.name, "dataset": dataset}
            rows.append({**about, **_about(audit, verdict, attack), **row, **_attacker(audit, verdict)})
    return _frame(rows, COLUMNS)


def roc_table(audit: Auditing) -> pd.DataFrame:
    """Return the ROC curves of every row of privacy.csv, one row for each point."""
    rows = []
    for verdict in audit.verdicts:
        for attack, leak in verdict.leaks.items():
            about = {**_about(audit, verdict, attack), "seed_known": _attacker(audit, verdict)["seed_known"]}
            fpr, tpr = leak.curve.log_log(POINTS)
            rows += [{**about, "fpr": x, "tpr": y} for x, y in zip(fpr.tolist(), tpr.tolist(), strict=True)]
    names = COLUMNS[COLUMNS.index("federation") : COLUMNS.index("auc")]
    return _frame(rows, [*names, "seed_known", "fpr", "tpr"])


def _about(audit: Auditing, verdict: Verdict, attack: str) -> dict[str, Any]:
    settings = {name: getattr(verdict.settings, name, None) for name in ("epsilon", "delta", "start")}
    return {
        "federation": audit.ctx.simulation.federation.name,
        "site": audit.site,
        "scheme": verdict.target.scheme,
        "ipc": verdict.target.ipc,
        "rounds": verdict.target.rounds,
        **settings,
        "seen": SEEN[attack],
        "attack": attack,
        "records": verdict.target.records,
    }


def _attacker(audit: Auditing, verdict: Verdict) -> dict[str, Any]:
    """Return what the attacker knew and held."""
    knows = audit.knows
    return {
        "records": verdict.target.records,
        "seed_known": "yes" if verdict.target.seed_known else "no",
        "population_known": "yes" if knows.population else "no",
        "members_known": "half" if knows.half else "none",
        "releases": verdict.target.releases,
    }


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    for column in ("ipc", "rounds", "releases"):
        if column not in frame:
            continue
        frame[column] = frame[column].astype("Int64")
    for column in ("epsilon", "delta"):
        frame[column] = frame[column].astype(float)
    numbers = [name for name in columns if name.startswith(("auc", "tpr", "fpr", "exposed"))]
    return frame.round(dict.fromkeys(numbers, 6))
