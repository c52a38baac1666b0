"""Dotted keys and TOML literals: read from the command line (`--set key=value`), put into a table, written again."""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedistill.config.find import EXPECTED, toml
from fedistill.core.limits import DEEPEST
from fedistill.errors import PlanError


def assign(content: dict[str, Any], change: str) -> None:
    """Apply one ``key=value`` change in place.

    Raises:
        PlanError: it is no ``key=value``, or its key leads through a value.

    >>> content = {"scheme": {"dc": {}}}
    >>> assign(content, "scheme.dc.iterations=40")
    >>> content
    {'scheme': {'dc': {'iterations': 40}}}
    >>> assign(content, "sweep.scheme.dc.iterations=[40, 80]")
    >>> content["sweep"]
    {'scheme.dc.iterations': [40, 80]}
    """
    key, equals, literal = change.partition("=")
    parts = parts_of(key.strip())
    if parts[0] == "sweep":
        parts = ["sweep", *[".".join(parts[1:])] * (len(parts) > 1)]  # what is swept has one key
    if not equals or not all(parts) or len(parts) > DEEPEST:
        raise PlanError(
            f"--set {change!r} changes nothing.", expected="key=value, such as scheme.dc.iterations=100", found=change
        )
    try:
        value = toml(f"value = {literal}")["value"]
    except tomllib.TOMLDecodeError:
        value = literal.strip()  # a bare word is a string: --set models=mlp
    except (ValueError, RecursionError) as error:
        raise PlanError(f"--set {key.strip()[:80]} is invalid.", expected=EXPECTED, found=str(error)[:200]) from error
    put(content, parts, value, what=f"--set {change!r}")


def put(content: dict[str, Any], parts: Sequence[str], value: Any, *, what: str) -> None:
    """Set one value in place, making the tables that lead to it.

    Args:
        content: the table, changed in place.
        parts: of its key.
        value: the new value.
        what: is setting it, for the error.

    Raises:
        PlanError: the key leads through a value.
    """
    table = content
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise PlanError(f"{what}: {part!r} is a value, not a table.", found=repr(table))
    table[parts[-1]] = value


def parts_of(key: str) -> list[str]:
    """Split a dotted key into its parts; quoted parts as in TOML.

    >>> parts_of("scheme.dc.lr_img"), parts_of('sweep."scheme.dc.lr_img"')
    (['scheme', 'dc', 'lr_img'], ['sweep', 'scheme.dc.lr_img'])
    """
    if '"' not in key and "'" not in key:
        return key.split(".")
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        return [""]
    parts = []
    while isinstance(table, dict):
        [(part, table)] = table.items()
        parts.append(part)
    return parts


def literals(changes: Iterable[str]) -> dict[str, Any]:
    """Return a table made of changes alone."""
    content: dict[str, Any] = {}
    for change in changes:
        assign(content, change)
    return content


def written(value: Any) -> str:
    r"""Write a value as one line of TOML, tables within it inline.

    >>> written([{"by": "dirichlet", "alpha": 0.1}, True, "a\"b"])
    '[{ by = "dirichlet", alpha = 0.1 }, true, "a\\"b"]'
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{written_key(k)} = {written(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(written(each) for each in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else str(value)


def written_key(key: str) -> str:
    """Write a key as TOML does, quoted if it must be.

    >>> written_key("width"), written_key("federation.partition")
    ('width', '"federation.partition"')
    """
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else written(key)
