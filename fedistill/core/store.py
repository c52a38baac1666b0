"""Content-addressed store: what was computed once from the same settings, images and seed is not computed again.

``ROOT/KIND/KEY.safetensors``, KEY being the SHA-256 of the canonical JSON of all that determines the result. Every file
carries a checksum over its content: a damaged one is set aside and made anew. Files and the folders they are in are
their owner's alone, for among them are images that no rule has been applied to.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedistill.core.files import PRIVATE_FILE, PRIVATE_FOLDER, write_atomic
from fedistill.core.locks import try_lock

Tensors = dict[str, Tensor]


def key_of(detail: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of the canonical JSON of all that determines a result.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(detail, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


WAIT_SECONDS = 0.25


class Store:
    """A folder of results. Safe for several processes: files appear whole, and equal keys mean equal content.

    Args:
        on_wait: called again and again while another process makes what is wanted here.
        on_damage: told, in words, of a file whose content is not what was written.
    """

    def __init__(
        self,
        root: Path,
        *,
        on_wait: Callable[[], None] = lambda: None,
        on_damage: Callable[[str], None] = lambda words: None,
    ) -> None:
        self.root = root
        self._on_wait = on_wait
        self._on_damage = on_damage

    def path(self, kind: str, key: str) -> Path:
        """Return the path of a result's file, which need not exist."""
        return self.root / kind / f"{key}.safetensors"

    def put(self, kind: str, key: str, tensors: Tensors, note: Mapping[str, Any] | None = None) -> None:
        """Keep tensors, with a note (JSON) about them that is no part of what they are, such as seconds taken."""
        from safetensors.torch import save

        described = json.dumps(dict(note or {}), sort_keys=True)
        tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
        metadata = {"note": described, "sha256": _checksum(tensors, described)}
        self._open(kind)
        write_atomic(self.path(kind, key), save(tensors, metadata=metadata), mode=PRIVATE_FILE)

    def _open(self, kind: str) -> None:
        """Make the folders that are not there."""
        for folder in (self.root, self.root / kind):
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    def get(self, kind: str, key: str) -> tuple[Tensors, dict[str, Any]] | None:
        """Return the tensors and their note; None if there is no file or it is damaged."""
        path = self.path(kind, key)
        if not path.exists():
            return None
        try:
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if metadata["sha256"] == _checksum(tensors, metadata["note"]):
                return tensors, json.loads(metadata["note"])
        except Exception:
            # Whatever is wrong with the file (truncated, overwritten, unreadable), the answer is the same.
            pass
        path.replace(path.with_suffix(".damaged"))
        self._on_damage(f"{kind}/{path.name} in the store was damaged; set aside, and made anew")
        return None

    def remember(self, kind: str, detail: Mapping[str, Any], make: Callable[[], Tensors]) -> Tensors:
        """Return the result stored under this detail; compute it by ``make`` and store it if there is none.

        No two processes compute it at once.
        """
        key = key_of(detail)
        stored = self.get(kind, key)
        if stored is not None:
            return stored[0]
        with self.making(kind, key):
            stored = self.get(kind, key)  # somebody may have made it while we waited
            if stored is not None:
                return stored[0]
            result = make()
            self.put(kind, key, result)
        return result

    @contextmanager
    def making(self, kind: str, key: str) -> Iterator[None]:
        """Within the block nobody else makes this result. The system frees it when the process ends, however it ends.

        Two jobs that need the same experts or the same images would otherwise both compute them.
        """
        path = self.path(kind, key).with_suffix(".making")
        self._open(kind)
        while True:
            with open(path, "a", opener=_private) as file:
                while not _locked(file.fileno()):
                    self._on_wait()
                    time.sleep(WAIT_SECONDS)
                if not _is(path, file.fileno()):
                    continue  # who held it has removed the file: what we have locked is nobody's any more
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return


class KeptCheckpoints:
    """``checkpoints(about)`` for methods of distillation: a file each in the store, dropped when the work is done.

    >>> import tempfile
    >>> kept = KeptCheckpoints(Store(Path(tempfile.mkdtemp())))
    >>> kept({"seed": 0}).save({"images": torch.zeros(1)}, {"step": 3})
    >>> kept({"seed": 0}).load()[1], kept({"seed": 1}).load()
    ({'step': 3}, None)
    >>> kept.drop(); kept({"seed": 0}).load()
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._issued: list[str] = []

    def __call__(self, about: Mapping[str, Any]) -> "KeptCheckpoint":
        """Return the checkpoint for work described by `about`."""
        key = key_of(about)
        self._issued.append(key)
        return KeptCheckpoint(self.store, key)

    def drop(self) -> None:
        """Forget all that were asked for: their work is finished and kept elsewhere."""
        for key in self._issued:
            self.store.path("checkpoint", key).unlink(missing_ok=True)
        self._issued.clear()


class KeptCheckpoint:
    """A checkpoint in the store; each save replaces the one before."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key

    def load(self) -> tuple[Tensors, dict[str, Any]] | None:
        """Return the tensors and the note of the last save; None if there is none."""
        return self._store.get("checkpoint", self._key)

    def save(self, tensors: Tensors, note: Mapping[str, Any]) -> None:
        """Keep tensors and a note (JSON) in place of those kept before."""
        self._store.put("checkpoint", self._key, tensors, note)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE_FILE)


def _locked(file: int) -> bool:
    try:
        return try_lock(file)
    except OSError:
        return True  # a file system without locks: two may compute the same result, as equal keys allow


def _is(path: Path, file: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(file)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _checksum(tensors: Mapping[str, Tensor], note: str) -> str:
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
