"""Write the golden files anew: `python -m golden`."""

import tempfile
from pathlib import Path

from golden.record import KEPT, machine, recorded
from golden.runs import RUNS

for name, text in RUNS.items():
    with tempfile.TemporaryDirectory() as folder:
        for table, content in recorded(text, Path(folder), name=name, engine="inline").items():
            path = KEPT / name / table
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    print(name, flush=True)
(KEPT / "machine.txt").write_text(machine() + "\n")
