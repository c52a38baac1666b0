"""Real images in, a few synthetic images out: one file per family of methods, and a registry of their names."""

from fedistill.methods.engine.method import (
    Method,
    Remember,
    SyntheticSet,
    Task,
    classes_held,
    forget,
    in_memory,
)
from fedistill.methods.installed import installed
from fedistill.methods.registry import (
    METHODS,
    labels_for,
    method_named,
    method_of,
    privacy_statement,
    provenance,
    settings_for,
)
from fedistill.methods.run import distill, distill_budgets

__all__ = [
    "METHODS",
    "Method",
    "Remember",
    "SyntheticSet",
    "Task",
    "classes_held",
    "distill",
    "distill_budgets",
    "forget",
    "in_memory",
    "labels_for",
    "method_named",
    "method_of",
    "privacy_statement",
    "provenance",
    "settings_for",
]

# Last, for what they offer imports this package.
METHODS.update(installed(METHODS))
