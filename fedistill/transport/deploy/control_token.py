"""The token by which commands of the coordinator know themselves to the server: a file that its owner alone can read.

That a request comes from the server's own machine says little where others have accounts on it.
"""

import os
import secrets
import stat
from pathlib import Path

from fedistill.core.files import write_atomic
from fedistill.errors import SettingError

HEADER = "x-fedistill-token"
NAME = "control.token"
MODE = 0o600
BYTES = 32


def made_token(folder: Path) -> Path:
    """Return the token's file in the server's folder; create it if it is missing.

    Raises:
        SettingError: one is there that others could read, or that is none.
    """
    path = folder / NAME
    if not path.is_symlink() and not path.exists():
        write_atomic(path, secrets.token_hex(BYTES) + "\n", mode=MODE)
    read_token(path)
    return path


def read_token(path: Path) -> str:
    """Read a token from its file.

    Raises:
        SettingError: it cannot be read, is not its owner's alone, or holds no token.
    """
    anew = "delete it: the next `fedistill server` makes another"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise SettingError(
            f"There is no token of a server in {path.parent}.", found=f"no {path.name}", mend="start `fedistill server`"
        ) from error
    except OSError as error:
        raise SettingError(
            f"The server's token cannot be read: {path}.",
            expected="a file of whoever runs the server, which this account may read",
            found=error.strerror,
            mend=f"run this as the account that runs the server; or {anew}",
        ) from error
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & ~MODE:
            raise SettingError(
                f"The server's token is not its owner's alone: {path}.",
                expected=f"a file of this account's with mode {MODE:04o}",
                found=f"mode {stat.S_IMODE(about.st_mode):04o}, of account number {about.st_uid}",
                mend=f"others may have read it, so {anew}",
            )
        content = os.read(handle, 1024)
    finally:
        os.close(handle)
    token = content.decode("ascii", errors="replace").strip()
    if len(token) != 2 * BYTES or set(token) - set("0123456789abcdef"):
        raise SettingError(
            f"There is no token in {path}.", expected=f"{2 * BYTES} hexadecimal digits", found="other text", mend=anew
        )
    return token
