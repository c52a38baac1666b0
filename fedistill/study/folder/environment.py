"""environment.json: what a run ran on, as far as it can matter to who repeats it."""

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fedistill.config import Federation, Plan
from fedistill.core.precision import of_training, processor

PACKAGES = (
    "fedistill", "torch", "flwr", "ray", "numpy", "pandas", "scikit-learn", "medmnist", "flwr-datasets", "safetensors"
)  # fmt: skip


def environment(plan: Plan, data_root: str | None, *, engine: str, workers: int | None) -> dict[str, Any]:
    """Versions, machine, seeds, precision, and what the data are; ``workers`` is null where all cores were used.

    Where a sweep's points differ in one of these, it is a list, and their data are all here.
    """
    import torch

    points = [point.simulation for point in plan.points]
    federations = {federation.model_dump_json(): federation for federation in (each.federation for each in points)}
    data: dict[str, str] = {}
    for federation in federations.values():
        data |= _data(federation, data_root)
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "cores": os.cpu_count(),
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "gpus": _gpus(plan),
        },
        "engine": engine,
        "workers": workers,
        "precision": {
            "distillation": _one_or_all([each.precision for each in points]),
            "training": _one_or_all([of_training(_kind(each.gpus)) for each in points]),
        },
        "device": {
            "distillation": _one_or_all(
                [{name: _kind(each.federation.of(name).gpus) for name in each.federation.sites} for each in points]
            ),
            "training": _one_or_all([_kind(each.gpus) for each in points]),
        },
        "seed": _one_or_all([each.seed for each in points]),
        "data": data,
    }


def _one_or_all(values: list[Any]) -> Any:
    """What all have in common, or each in turn."""
    return values[0] if all(value == values[0] for value in values) else values


def _kind(gpus: float) -> str:
    return "cuda" if gpus else "cpu"


def _gpus(plan: Plan) -> list[str]:
    """Names of this machine's GPUs, where anything is to compute on one; to ask for them starts the driver."""
    import torch

    asked = [point.simulation.gpus for point in plan.points]
    asked += [f.of(name).gpus for f in (point.simulation.federation for point in plan.points) for name in f.sites]
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if any(asked) else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _data(federation: Federation, data_root: str | None) -> dict[str, str]:
    """The MD5 of every data file; of phantoms the words that draw them again."""
    from fedistill.data.sources import medmnist

    found = {}
    for name in federation.datasets():
        if name.startswith("phantom:"):
            found[name] = f"drawn, seed {federation.data_seed or 0}, {federation.images or 'default'} images"
        elif name.endswith(".npz"):
            found[Path(name).name] = _md5(Path(name))
        else:
            found[name] = medmnist.entry(name, federation.size or 28).md5
    return found


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
