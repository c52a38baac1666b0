"""Writing files so that a reader, or a machine that loses power, never sees half of one."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedistill.errors import RunFolderError, SettingError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of what its owner alone may read."""


def keep_private() -> None:
    """Make all that this process and those it starts write from now on their owner's alone, to the end of it."""
    global _UMASK
    _UMASK = 0o777 & ~PRIVATE_FOLDER
    os.umask(_UMASK)


def private_folder(path: Path) -> Path:
    """Make this folder its owner's alone, whether it is there already or not; and return it.

    Raises:
        SettingError: it is somebody else's.
    """
    path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    _restrict(path, PRIVATE_FOLDER)
    return path


def private_file(path: Path) -> None:
    """Make this file its owner's alone, where there is one.

    Raises:
        SettingError: it is somebody else's.
    """
    if path.is_file():
        _restrict(path, PRIVATE_FILE)


def _restrict(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o777 & ~mode:
        try:
            path.chmod(mode)
        except OSError as error:
            raise SettingError(
                f"Others can read {path}, and this account cannot change that.",
                expected=f"mode {mode:04o}",
                found=error.strerror,
                mend="have its owner run this, or name another place",
            ) from error


def write_atomic(path: Path, content: bytes | str | Callable[[Path], None], *, mode: int | None = None) -> None:
    """Write ``content`` beside ``path``, flush it to disk, then rename it into place.

    ``content`` may be a function that writes the temporary file it is handed. On any failure the temporary file is
    removed and whatever stood at ``path`` before is still there. ``mode`` are its permissions, such as 0o600 for a
    secret, at every moment; by default those that any new file of this process has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)  # mkstemp makes files for their owner alone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def require_folder(folder: Path, what: str) -> None:
    """Raise RunFolderError unless files can be written in a folder, or in one that can be made there.

    Nothing is left behind: what has to be made to find out is taken away again.

    Args:
        folder: the folder.
        what: names the folder in the message, such as ``--out``.
    """
    with _refused(folder, what, "a folder, or one that can be made"), _made(folder):
        handle, name = tempfile.mkstemp(prefix=".tried.", dir=folder)
        os.close(handle)
        Path(name).unlink()


def require_new_file(path: Path, what: str) -> None:
    """Raise RunFolderError unless a file can be made at a path where there is none; nothing is left behind."""
    with _refused(path, what, "the path of a file that can be made"), _made(path.parent):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        path.unlink()


@contextmanager
def _refused(path: Path, what: str, expected: str) -> Iterator[None]:
    try:
        if os.fsencode(path).decode(errors="replace") != str(path):
            raise ValueError("a name that is no text in UTF-8, which tables cannot be kept under")
        yield
    except (OSError, ValueError, RuntimeError) as error:  # no such character in a path; links that lead in a circle
        reason: object = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file where a folder should be" if "folder" in expected else "something else is there"
        shown = str(path) if len(str(path)) <= LONGEST_SHOWN else f"{str(path)[:LONGEST_SHOWN]}..."
        raise RunFolderError(
            f"{what} {shown} cannot be written.",
            expected=expected,
            found=reason,
            mend="choose another place, or let this user write there",
        ) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create a folder for the time of the block; remove afterwards what was not there before."""
    lacking = []
    for each in (folder, *folder.parents):
        if os.path.lexists(each):
            break
        lacking.append(each)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for each in lacking:
            with suppress(OSError):  # it was never made, or somebody else has put something into it
                each.rmdir()


LONGEST_SHOWN = 200
"""Characters of a path in a message."""


def _umask() -> int:
    # There is no way to read the mask but to set it; done once at import, before any thread starts.
    return _UMASK


_UMASK = os.umask(0)
os.umask(_UMASK)
