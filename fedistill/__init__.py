"""FeDistill: what would hospitals lose, and leak, if each shared a few synthetic images per class instead of its data?

The names below load on first use, so that ``import fedistill`` costs nothing and the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fedistill.api.evaluate import evaluate
    from fedistill.data import ImageSet, load_dataset
    from fedistill.methods import distill

_HOME = {
    "ImageSet": "fedistill.data",
    "load_dataset": "fedistill.data",
    "distill": "fedistill.methods",
    "evaluate": "fedistill.api.evaluate",
    "run_simulation": "fedistill.app",
}

__all__ = ["ImageSet", "__version__", "distill", "evaluate", "load_dataset", "run_simulation"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'fedistill' has no attribute {name!r}")
