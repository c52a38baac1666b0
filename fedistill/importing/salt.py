"""The salt of a hospital: with it, and never without, a patient's number can be told to be that of an ID."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from fedistill.core.files import PRIVATE_FILE, write_atomic
from fedistill.errors import DataError

BYTES = 32


def default_salt() -> Path:
    """Return where the salt is kept unless told otherwise: the user's own folder of settings."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "fedistill" / "patients.salt"


def read_salt(path: Path) -> bytes:
    """Return the salt; make one, its owner's alone, where there is none. It must not leave the hospital.

    Raises:
        DataError: the file is there and is no salt.
    """
    if not path.exists():
        write_atomic(path, secrets.token_hex(BYTES) + "\n", mode=PRIVATE_FILE)
    try:
        salt = bytes.fromhex(path.read_text(encoding="ascii").strip())
        if len(salt) != BYTES:
            raise ValueError(f"{len(salt)} bytes")
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} holds no salt.",
            expected=f"{BYTES} bytes in hex, as FeDistill writes them",
            found=error,
            mend="name another file with --salt; a new salt gives every patient another number",
        ) from error
    return salt


def patient_number(salt: bytes, patient: str) -> int:
    """Return a patient's number, 0..2**63-1, which nobody without the salt can trace back to the ID.

    >>> patient_number(bytes(32), "A1") == patient_number(bytes(32), "A1") != patient_number(bytes(31) + b"x", "A1")
    True
    """
    return int.from_bytes(hmac.digest(salt, patient.encode(), hashlib.sha256)[:8], "big") >> 1
