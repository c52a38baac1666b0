"""environment.json: software, machine, seeds and data of a run, for whoever repeats it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fedistill.config import Federation, Plan
from fedistill.core.precision import of_training, processor
from fedistill.data import parse_source

PACKAGES = (
    "fedistill", "torch", "flwr", "ray", "numpy", "pandas", "scikit-learn", "medmnist", "flwr-datasets", "safetensors"
)  # fmt: skip


def describe_environment(plan: Plan, data_root: str | None, *, engine: str, workers: int | None) -> dict[str, Any]:
    """Return versions, machine, seeds, precision and data; ``workers`` is null if all cores were used.

    So is what a hospital computes on, with ``engine`` ``superlink``: the coordinator does not know it.

    A value that differs between the points of a sweep is a list; the data are those of all points.
    """
    import torch

    points, deployed = [point.simulation for point in plan.points], engine == "superlink"
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
            "training_at_sites": "float32",
        },
        "device": {
            "distillation": _one_or_all(
                [
                    # A hospital's own file says what it computes on. In which numbers, its Releases say.
                    {name: None if deployed else _kind(each.federation.of(name).gpus) for name in each.federation.sites}
                    for each in points
                ]
            ),
            "training": _one_or_all([_kind(each.gpus) for each in points]),
        },
        "seed": _one_or_all([each.seed for each in points]),
        "data": data,
    }


def _one_or_all(values: list[Any]) -> Any:
    """Return the common value if all are equal, else all values."""
    return values[0] if all(value == values[0] for value in values) else values


def _kind(gpus: float) -> str:
    return "cuda" if gpus else "cpu"


def _gpus(plan: Plan) -> list[str]:
    """Return the names of this machine's GPUs if the plan uses any; asking for them starts the driver."""
    import torch

    gpus = [point.simulation.gpus for point in plan.points]
    gpus += [f.of(name).gpus for f in (point.simulation.federation for point in plan.points) for name in f.sites]
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if any(gpus) else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _data(federation: Federation, data_root: str | None) -> dict[str, str]:
    """Return the MD5 of every data file, and for phantoms the parameters that draw them."""
    options: dict[str, int | None] = {
        "size": federation.size,
        "images": federation.images,
        "seed": federation.data_seed,
    }
    return dict(parse_source(name).provenance(**options) for name in federation.datasets())
