"""Optional packages, asked for by name where they are needed."""

from importlib import import_module
from types import ModuleType

from fedistill.errors import DataError


def optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Return an optional package.

    Args:
        module: its name in Python.
        extra: FeDistill's extra that installs it.
        purpose: what it is needed for; begins the message.

    Raises:
        DataError: it is not installed.

    >>> optional("json", extra="none", purpose="Reading JSON").__name__
    'json'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"{purpose} needs the package {package}.",
            expected=f"{package}, which FeDistill does not install by itself",
            found=error,
            mend=f"pip install 'fedistill[{extra}]'",
        ) from error
