"""Every attack on every scheme, from the tables of runs, as Markdown: for each run's hospital the strongest, and all.

PYTHONPATH=tests .venv/bin/python -m benchmarks.attacks RUN ...
"""

import sys
from pathlib import Path

import pandas as pd

BEFORE = {"nearest-pixels", "nearest-features", "lira", "lira-offline", "rmia", "rmia-offline"}
"""The attacks that the audit had before tracing and learning."""

CONDITIONS = ["ipc", "rounds", "epsilon", "start", "seed_known", "population_known", "members_known", "releases"]


def table(privacy: pd.DataFrame) -> str:
    """Return a line for each attack and a column for each scheme: AUC in %, in bold the highest of its scheme.

    Args:
        privacy: as a run writes it; records other than halves, such as canaries, are left out.

    >>> lines = [["dm", "a", 0.5, 0.45, 0.55, 0.01], ["dm", "b", 0.6, 0.55, 0.65, 0.1], ["dc", "a", 0.7, 0.6, 0.8, 0.2]]
    >>> columns = ["scheme", "attack", "auc", "auc_low", "auc_high", "tpr_at_1"]
    >>> print(table(pd.DataFrame(lines, columns=columns)))
    | attack | dm | dc |
    |---|---|---|
    | a | 50.0 (45.0 to 55.0) | **70.0** (60.0 to 80.0) |
    | b | **60.0** (55.0 to 65.0) |  |
    | named at 1 % by the strongest | 10.0 | 20.0 |
    """
    rows = privacy[privacy["records"] == "halves"] if "records" in privacy else privacy
    names = rows["scheme"].astype(str)
    for condition in (name for name in CONDITIONS if name in rows):
        values = rows[condition].astype(str)
        several = values.groupby(rows["scheme"]).transform("nunique") > 1
        names = names.where(~several, names + f", {condition} " + values)
    rows = rows.assign(column=names)
    columns = list(dict.fromkeys(rows["column"]))
    cells = {(row.attack, row.column): row for row in rows.itertuples()}
    best = {column: rows[rows["column"] == column]["auc"].max() for column in columns}

    def cell(attack: str, column: str) -> str:
        row = cells.get((attack, column))
        if row is None:
            return ""
        auc = f"{100 * row.auc:.1f}"
        return (
            f"{f'**{auc}**' if row.auc == best[column] else auc} ({100 * row.auc_low:.1f} to {100 * row.auc_high:.1f})"
        )

    lines = [["attack", *columns], ["---"] * (1 + len(columns))]
    lines += [[attack, *(cell(attack, column) for column in columns)] for attack in dict.fromkeys(rows["attack"])]
    strongest = [rows[(rows["column"] == column) & (rows["auc"] == best[column])].iloc[0] for column in columns]
    lines.append(["named at 1 % by the strongest", *(f"{100 * row.tpr_at_1:.1f}" for row in strongest)])
    return (
        "\n".join(["| " + " | ".join(line) + " |" for line in lines]).replace("| --- ", "|---").replace("--- |", "---|")
    )


def strongest(privacy: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Return a line for each scheme of one budget: its networks' AUC, and the strongest attack before and now.

    Args:
        privacy, comparison: as a run writes them.
    """
    rows = privacy[privacy["records"] == "halves"]
    worth = comparison.set_index("scheme")

    def best(of: pd.DataFrame) -> str:
        row = of.loc[of["auc"].idxmax()]
        return f"{row.attack} {_share(row, 'auc', 'auc')}"

    lines = [
        "| scheme | AUC of networks | strongest before | strongest today | named at 1 % | at 0.1 % |",
        "|---" * 6 + "|",
    ]
    for scheme in dict.fromkeys(rows["scheme"]):
        own = rows[rows["scheme"] == scheme]
        top, auc = own.loc[own["auc"].idxmax()], worth.loc[scheme]
        cells = [
            f"{100 * auc['auc']:.1f} ±{100 * auc['auc_within']:.1f}",
            best(own[own["attack"].isin(BEFORE)]),
            best(own),
        ]
        cells += [_share(top, "tpr_at_1", "tpr"), _share(top, "tpr_at_01", "tpr_at_01")]
        lines.append("| " + " | ".join([scheme, *cells]) + " |")
    return "\n".join(lines)


def _share(row: pd.Series, name: str, stem: str) -> str:
    return f"{100 * row[name]:.1f} ({100 * row[f'{stem}_low']:.1f} to {100 * row[f'{stem}_high']:.1f})"


if __name__ == "__main__":
    for run in map(Path, sys.argv[1:]):
        attacks = pd.read_csv(run / "privacy.csv")
        print(f"\n{run}\n\n{strongest(attacks, pd.read_csv(run / 'comparison.csv'))}\n\n{table(attacks)}")
