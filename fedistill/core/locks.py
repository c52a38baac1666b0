"""File locks between processes; the system frees them when the process ends, however it ends."""

import fcntl


def try_lock(file: int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting.

    Args:
        file: a file descriptor; the lock lasts until it is closed.
        shared: whether others may hold shared locks at the same time.

    Returns:
        False if another process holds a lock that excludes this one.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
