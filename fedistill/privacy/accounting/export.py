"""A ledger for an auditor: all its lines in one table, CSV or JSON, with the chain by which they can be checked."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedistill.core.files import PRIVATE_FILE, require_new_file, write_atomic
from fedistill.core.text import cell
from fedistill.errors import SettingError
from fedistill.privacy.accounting.ledger_lines import Entry

COLUMNS = (
    "line when entry site agreement to by scheme ipc item sha256 per_class epsilon delta number what why names chain"
).split()


def write_export(path: Path, site: str, entries: Sequence[Entry]) -> None:
    """Write a ledger's lines to a new file, ``.csv`` or ``.json``, its owner's alone.

    Raises:
        SettingError: another kind of file.
        RunFolderError: there is one already, or none can be made.
    """
    if path.suffix not in (".csv", ".json"):
        raise SettingError("--export writes CSV or JSON.", expected="a name that ends in .csv or .json", found=path)
    require_new_file(path, "--export")
    rows = [_row(number, site, entry) for number, entry in enumerate(entries, 1)]
    if path.suffix == ".json":
        write_atomic(path, json.dumps({"site": site, "lines": rows}, indent=1) + "\n", mode=PRIVATE_FILE)
        return
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({name: cell(_flat(row[name])) for name in COLUMNS} for row in rows)
    write_atomic(path, text.getvalue(), mode=PRIVATE_FILE)


def _row(number: int, site: str, entry: Entry) -> dict[str, Any]:
    when = datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="seconds")
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {name: value for name, value in entry.about.items() if name in COLUMNS}
    row |= {"line": number, "when": when, "entry": entry.kind, "site": site, "chain": entry.chain}
    row |= {name: value for name, value in asdict(entry.occasion).items() if value}
    if entry.charge is not None:
        row |= {"epsilon": entry.charge.cost.epsilon, "delta": entry.charge.cost.delta, "item": entry.charge.key}
    if entry.sha256:
        row |= {"sha256": entry.sha256, "item": entry.item, "per_class": entry.per_class}
    return row


def _flat(value: Any) -> Any:
    return " | ".join(map(str, value)) if isinstance(value, list | tuple) else value
