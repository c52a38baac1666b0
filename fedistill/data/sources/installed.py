"""Data sources that other installed packages offer: the entry points of the group ``fedistill.sources``.

A package names a subclass of `DataSource` in its own pyproject.toml. The words of its data sets begin with the entry
point's name and a colon: ``[project.entry-points."fedistill.sources"] ward = "ward_data:Ward"`` serves ``ward:lungs``.
"""

from collections.abc import Container
from functools import cache
from importlib.metadata import entry_points

from fedistill.data.sources.base import DataSource
from fedistill.errors import SettingError

GROUP = "fedistill.sources"


@cache
def installed_sources(taken: Container[str]) -> tuple[type[DataSource], ...]:
    """Load the kinds of data sets that installed packages offer, in the order of their names.

    Args:
        taken: prefixes that cannot be used.

    Raises:
        SettingError: an offered class cannot be loaded, is no `DataSource`, or has a prefix other than its entry
            point's name, or a prefix that is taken. The message names the package.
    """
    kinds: dict[str, type[DataSource]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else "an installed package"
        where = f"{package} offers the data source {point.name!r} ({point.value})"
        prefix = f"{point.name}:"
        if prefix in taken or prefix in kinds:
            raise SettingError(f"{where}, but this name is taken.", mend="choose another name in its entry points")
        try:
            kind = point.load()
        except Exception as error:
            mend = f"repair {package}, or uninstall it"
            raise SettingError(f"{where}, which cannot be loaded.", found=error, mend=mend) from error
        if not (isinstance(kind, type) and issubclass(kind, DataSource)):
            expected = "a subclass of fedistill.data.DataSource"
            raise SettingError(f"{where}, which is no data source.", expected=expected, found=type(kind).__name__)
        if kind.prefix != prefix:
            raise SettingError(
                f"{where}, whose prefix is not its name.", expected=f"prefix = {prefix!r}", found=repr(kind.prefix)
            )
        kinds[prefix] = kind
    return tuple(kinds.values())
