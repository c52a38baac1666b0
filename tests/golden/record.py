"""What is written down of a run: its tables without timings, and the keys of everything in its store."""

import platform
from pathlib import Path

import pandas as pd
import torch

from fedistill.app import run_simulation

TABLES = ("results.csv", "comparison.csv", "privacy.csv", "traffic.csv")
KEPT = Path(__file__).parent / "kept"


def machine() -> str:
    """Return the kind of machine that results depend on to the last digit."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {model}"


def recorded(text: str, folder: Path, *, name: str, engine: str) -> dict[str, str]:
    """Run a simulation in a folder; its tables as text, and ``keys``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text)
    out = folder / "run"
    run_simulation(str(folder / f"{name}.toml"), out=out, engine=engine, workers=1 if engine == "local" else None)
    kept = {table: _timeless(out / table) for table in TABLES if (out / table).is_file()}
    work = sorted(str(path.relative_to(out / "work")) for path in (out / "work").rglob("*.safetensors"))
    return {**kept, "keys.txt": "\n".join(work) + "\n"}


def _timeless(path: Path) -> str:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return frame[[name for name in frame if not name.endswith("_seconds")]].to_csv(index=False)
