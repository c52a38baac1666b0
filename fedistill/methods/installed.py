"""Methods that other installed packages offer: the entry points of the group ``fedistill.methods``.

A package says so in its own pyproject.toml, and its method then runs wherever the package is installed: at a site, in a
Ray worker, on the command line.
"""

from collections.abc import Container
from importlib.metadata import entry_points

from fedistill.errors import SettingError
from fedistill.methods.engine.method import Method

GROUP = "fedistill.methods"


def installed(known: Container[str]) -> dict[str, Method]:
    """Return the methods that installed packages offer, by name.

    Args:
        known: names that are taken.

    Raises:
        SettingError: names the package whose method cannot be loaded, is no `Method`, or has a name that is taken.
    """
    methods: dict[str, Method] = {}
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist is not None else "an installed package"
        where = f"{package} offers a method {point.name!r} ({point.value})"
        if point.name in known or point.name in methods:
            raise SettingError(f"{where}, a name that is taken.", mend="give it another name in its entry points")
        try:
            method = point.load()
        except Exception as error:
            mend = f"mend {package}, or uninstall it"
            raise SettingError(f"{where}, which cannot be loaded.", found=error, mend=mend) from error
        if not isinstance(method, Method):
            expected = "a fedistill.methods.Method"
            raise SettingError(f"{where}, which is none.", expected=expected, found=type(method).__name__)
        methods[point.name] = method
    return methods
