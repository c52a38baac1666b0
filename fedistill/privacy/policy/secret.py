"""The secret of a deployed site: 32 bytes of the operating system that go into the seed of everything random it does.

A server chooses the jobs, and with a seed of its choosing it could repeat a site's distillation: the same networks, the
same starts, the same batches, and take them off again. With the secret nobody else can, and two jobs that differ in
anything at all share nothing.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedistill.errors import SettingError

BYTES = 32


def seed_for(secret: bytes, about: Mapping[str, Any]) -> int:
    """Derive a seed in 0..2**63-1 from a secret and all that a job says (JSON), by HMAC-SHA256.

    >>> seed_for(b"x" * 32, {"seed": 1}) == seed_for(b"x" * 32, {"seed": 1})
    True
    >>> seed_for(b"x" * 32, {"seed": 1}) == seed_for(b"y" * 32, {"seed": 1})
    False
    """
    text = json.dumps(dict(about), sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hmac.digest(secret, text.encode(), hashlib.sha256)[:8], "big") >> 1


def read_secret(path: Path) -> bytes:
    """Read a site's secret.

    Raises:
        SettingError: the file is missing, unreadable, of another length, or readable by others.
    """
    try:
        mode, secret = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"The site's secret {path} cannot be read.",
            expected="the file that `fedistill site` made at the first start",
            found=error,
            mend="put it back, or let this user read it",
        ) from error
    if mode & 0o077:
        raise SettingError(
            f"Others may read the site's secret {path}.",
            expected="mode 0600",
            found=f"mode {mode:04o}",
            mend=f"chmod 600 {path}",
        )
    if len(secret) != BYTES:
        raise SettingError(
            f"{path} is no secret of a site.", expected=f"{BYTES} bytes", found=f"{len(secret)}", mend="put it back"
        )
    return secret


def ensure_secret(path: Path, *, store: Path, ledger: Path) -> None:
    """Make a site's secret at its first start; afterwards require it.

    Args:
        path: of the secret.
        store: the site's store.
        ledger: the site's ledger.

    Raises:
        SettingError: it cannot be read or made, or is missing where the site has already worked with one.
    """
    if path.exists():
        read_secret(path)
        return
    used = [each for each in (ledger, store) if _holds_work(each)]
    if used:
        raise SettingError(
            f"The site's secret {path} is missing, and {used[0]} was made with one.",
            expected="the file that was made at the site's first start",
            mend="put it back from the backup; without it, begin with another `store` and `ledger` in the site's file",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600 from the first byte on
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(BYTES))
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)  # never over another: of two starts at once one makes the secret, both use it
        finally:
            Path(name).unlink()
    except FileExistsError:
        read_secret(path)
    except OSError as error:
        raise SettingError(f"The site's secret {path} cannot be written.", found=error) from error


def _holds_work(path: Path) -> bool:
    """Return whether a ledger has lines, or a store has kept anything."""
    if path.is_file():
        return path.stat().st_size > 0
    return path.is_dir() and any(each.suffix == ".safetensors" for each in path.glob("*/*"))
