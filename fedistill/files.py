"""Writing files so that a reader, or a machine that loses power, never sees half of one."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


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


def _umask() -> int:
    # There is no way to read the mask but to set it; done once at import, before any thread starts.
    return _UMASK


_UMASK = os.umask(0)
os.umask(_UMASK)
