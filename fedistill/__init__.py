"""FeDistill: what would hospitals lose, and leak, if each shared a few synthetic images per class instead of its data?

The names below load on first use, so that ``import fedistill`` costs nothing and the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedistill.api.evaluate import evaluate
    from fedistill.data import ImageSet, load_dataset
    from fedistill.export.network.model import Model
    from fedistill.export.pool.load import load_release
    from fedistill.methods import distill

_HOME = {
    "ImageSet": "fedistill.data",
    "load_dataset": "fedistill.data",
    "distill": "fedistill.methods",
    "evaluate": "fedistill.api.evaluate",
    "Model": "fedistill.export.network.model",
    "load_release": "fedistill.export.pool.load",
    "run_simulation": "fedistill.app",
}

__all__ = [
    "ImageSet",
    "Model",
    "__version__",
    "distill",
    "evaluate",
    "load_dataset",
    "load_release",
    "run_simulation",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fedistill' has no attribute {name!r}")
