"""What a measurement was taken on, as far as it can matter to who repeats it."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fedistill
from fedistill.precision import has_bfloat16


def conditions(**settings: Any) -> dict[str, Any]:
    """The machine, the versions, how busy it was (load: runnable processes over one minute), and these settings."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "vector instructions": torch.backends.cpu.get_cpu_capability(),
            "bfloat16": has_bfloat16(),
            "load before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "fedistill": fedistill.__version__,
        },
        **settings,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
