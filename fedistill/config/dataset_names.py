"""The data sets that a federation's table names: found from its file's folder, or with phantoms in their places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedistill.config.federation import Federation
from fedistill.data import parse_source, to_phantom
from fedistill.data.combine import with_set

Change = Callable[[str], str]
"""One data set's name to another's."""


def from_folder(folder: Path) -> Change:
    """Return a change of names that resolves relative paths from a TOML's folder."""

    def change(dataset: str) -> str:
        return parse_source(dataset).moved(folder).name

    return change


def renamed(content: Any, change: Change, key: str = "") -> Any:
    """Return a federation's table, or the part of it under a dotted key, with every data set's name changed.

    What is not as it should be stays as it is, for whoever checks the table to say so.

    >>> renamed({"dataset": "bloodmnist", "site": {"a": {"dataset": "octmnist"}}}, to_phantom)
    {'dataset': 'phantom:blood', 'site': {'a': {'dataset': 'phantom:oct'}}}
    >>> renamed(["bloodmnist:platelet"], to_phantom, "combine.classes")
    ['phantom:blood:platelet']
    """
    if isinstance(content, dict):
        return {name: renamed(value, change, f"{key}.{name}" if key else name) for name, value in content.items()}
    if isinstance(content, str) and (key == "dataset" or (key.startswith("site.") and key.endswith(".dataset"))):
        return change(content)
    if key == "combine.classes" and isinstance(content, list) and all(isinstance(each, str) for each in content):
        return [with_set(entry, change) for entry in content]
    return content


def with_phantoms(federation: Federation) -> Federation:
    """Return the federation with every data set replaced by its phantom.

    Raises:
        DataError: a file by path has none.
    """
    sites = {
        name: site if site.dataset is None else site.model_copy(update={"dataset": to_phantom(site.dataset)})
        for name, site in federation.site.items()
    }
    changed: dict[str, Any] = {"site": sites}
    if federation.dataset is not None:
        changed["dataset"] = to_phantom(federation.dataset)
    if (combine := federation.combine) is not None:
        classes = tuple(with_set(entry, to_phantom) for entry in combine.classes)
        changed["combine"] = combine.model_copy(update={"classes": classes})
    return federation.model_copy(update=changed)
