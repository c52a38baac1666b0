"""Attackers' findings in a run, as lines for the cards of what is taken out of it."""

from pathlib import Path

import pandas as pd

from fedistill.study.folder.tables_on_disk import read_typed_table

NOT_ATTACKED = "It was not attacked in this run (`fedistill audit` does): what it leaks is not known."


def findings(folder: Path, scheme: str, ipc: int | None, rounds: int | None = None) -> list[str]:
    """Return a line for each attack on a scheme and budget, of whatever site was attacked.

    Raises:
        RunFolderError: privacy.csv is not as the run wrote it.
    """
    path = folder / "privacy.csv"
    if not path.is_file():
        return [NOT_ATTACKED]
    frame = read_typed_table(path)
    if frame.empty:
        return [NOT_ATTACKED]
    of = frame[frame["scheme"] == scheme]
    for name, value in (("ipc", ipc), ("rounds", rounds)):
        if name in of:
            of = of[of[name].isna() if value is None else of[name] == value]
    lines = []
    for row in of.to_dict("records"):
        interval = ""
        if pd.notna(row.get("auc_low")) and pd.notna(row.get("auc_high")):
            interval = f" (95 % interval {100 * row['auc_low']:.1f} to {100 * row['auc_high']:.1f})"
        lines.append(
            f"{row['attack']}, is an image of {row.get('site') or 'the site'} in it: "
            f"AUC {100 * row['auc']:.1f}{interval}; a coin has 50."
        )
    return lines or [NOT_ATTACKED]
