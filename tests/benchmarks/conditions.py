"""What a measurement was taken on, as far as it can matter to who repeats it."""

import os
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

import fedistill
from fedistill.core.precision import has_bfloat16, processor


def conditions(**settings: Any) -> dict[str, Any]:
    """The machine, the versions, how busy it was (load: runnable processes over one minute), and these settings."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
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
