"""The data sets that a federation's table names: found from its file's folder, or with phantoms in their places."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fedistill.config.federation import Federation
from fedistill.core.text import printable
from fedistill.data import parse_source, to_phantom
from fedistill.data.combine import with_set
from fedistill.errors import PlanError

Change = Callable[[str], str]
"""One data set's name to another's."""


_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})/")


def from_folder(folder: Path) -> Change:
    """Return a change of names that resolves relative paths from a TOML's folder, and ``$NAME/`` at their beginning.

    Only words that a user wrote on this machine may come here: in a file, or after ``--set``. What came in a message
    must not, for it could ask what stands in the environment.
    """

    def change(dataset: str) -> str:
        return parse_source(with_variable(dataset)).moved(folder).name

    return change


def with_variable(dataset: str) -> str:
    """Return a path with the environment variable at its beginning replaced by the folder that it names.

    A relative folder is the shell's, so it starts from the current one. Any other word is returned as it is.

    Raises:
        PlanError: the variable is not set, or empty.

    >>> with_variable("bloodmnist"), with_variable("data/$ours.npz")
    ('bloodmnist', 'data/$ours.npz')
    """
    match = _VARIABLE.match(dataset)
    if match is None:
        return dataset
    variable = match[1] or match[2]
    folder = os.environ.get(variable, "")
    if not folder:
        raise PlanError(
            f"{dataset} lies in a folder that the environment does not name.",
            expected=f"{variable} set to the folder that holds {dataset[match.end() :]}",
            found=f"no {variable} in the environment" if variable not in os.environ else f"an empty {variable}",
            mend=f"export {variable}=FOLDER before the command, or write the whole path",
        )
    return str(Path.cwd() / Path(folder).expanduser() / dataset[match.end() :])


def require_no_variable(words: Iterable[str]) -> None:
    """Raise PlanError if words that came in a message name a folder by a variable of this machine's environment."""
    for word in words:
        if _VARIABLE.search(word):
            raise PlanError(
                "A message may not ask what stands in this machine's environment.",
                expected="a whole path, or the name of a data set",
                found=printable(word, most=100),
                mend="write the path itself",
            )


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
