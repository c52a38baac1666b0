"""Real images in, a few synthetic images out: one file per family of methods, and a registry of their names.

The package itself can be called: ``fedistill.distill(images, method="dc", ipc=10)`` is the function that people use,
and it shares its name with this package. Python puts a package in its parent's namespace under that name as soon as
anything imports it, so whichever of the two came last would win; a package that can be called makes both the same.
"""

import sys
from types import ModuleType
from typing import Any

from fedistill.distill.installed import installed
from fedistill.distill.method import (
    Event,
    Method,
    Remember,
    SyntheticSet,
    Task,
    classes_held,
    forget,
    ignore,
    in_memory,
)
from fedistill.distill.registry import METHODS, method_named, privacy_statement, provenance, settings_for
from fedistill.distill.run import distill, distill_budgets

__all__ = [
    "METHODS",
    "Event",
    "Method",
    "Remember",
    "SyntheticSet",
    "Task",
    "classes_held",
    "distill",
    "distill_budgets",
    "forget",
    "ignore",
    "in_memory",
    "method_named",
    "privacy_statement",
    "provenance",
    "settings_for",
]

# Last, for what they offer imports this package.
METHODS.update(installed(METHODS))


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> SyntheticSet | dict[int, SyntheticSet]:
        """`distill`, under the package's name."""
        return distill(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
