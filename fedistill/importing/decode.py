"""The second pass: pictures are decoded and prepared, a few at a time, and written down as they come.

Memory holds a few files and some hundred bytes of notes for each image, however many files there are.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from fedistill.importing.intensity import rule_of
from fedistill.importing.picture import Unreadable
from fedistill.importing.preprocessing import Preprocessing, apply
from fedistill.importing.readers import reader
from fedistill.importing.scan import reader_for

AHEAD = 4
"""Files that each thread may be ahead of the one that is written."""

THUMB = 16
"""Height and width of the pictures that near duplicates are looked for by."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of one file.

    Args:
        images: uint8 (F, S, S, C).
        frames: number of each in its file.
        rules: what became black and white, for each.
        why: reason where the file could not be read; then there are no images.
    """

    images: np.ndarray
    frames: tuple[int, ...] = ()
    rules: tuple[str, ...] = ()
    why: str = ""


def decode(path: Path, how: Preprocessing) -> Decoded:
    """Return the images of one file, prepared; never raises for a file that is damaged."""
    try:
        of = reader(reader_for(path))
        wanted = how.wanted(of.facts(path).frames)
        images, rules = [], []
        for picture in of.pictures(path, wanted):
            rules.append(rule_of(picture, how.intensity))
            images.append(apply(picture, how))
        return Decoded(np.stack(images), tuple(wanted), tuple(rules))
    except Unreadable as error:
        return Decoded(np.zeros((0, how.size, how.size, how.channels or 1), np.uint8), why=str(error))
    except OSError as error:
        empty = np.zeros((0, how.size, how.size, how.channels or 1), np.uint8)
        return Decoded(empty, why=f"cannot be opened ({error.strerror or error})")
    except MemoryError:
        return Decoded(np.zeros((0, how.size, how.size, how.channels or 1), np.uint8), why="more than fits in memory")


def in_order(work: Callable[[T], R], items: Iterable[T], *, threads: int) -> Iterator[R]:
    """Yield the results of work in threads, in the items' order, with few results waiting.

    >>> list(in_order(str, range(3), threads=2))
    ['0', '1', '2']
    """
    if threads <= 1:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


@dataclass(frozen=True, eq=False)
class Images:
    """The facts remembered of each image while its pixels lie in a file.

    Args:
        entry: int64 (N,), number of its file.
        frame: int64 (N,), its number within the file.
        digest: bytes (N, 16): equal where the pixels are.
        thumbs: uint8 (N, 256), the image in grey at 16 x 16.
        coloured: whether any image has channels that differ.
        rules: number of images by what became black and white.
    """

    entry: np.ndarray
    frame: np.ndarray
    digest: np.ndarray
    thumbs: np.ndarray
    coloured: bool
    rules: dict[str, int]

    def __len__(self) -> int:
        return len(self.entry)


def stream(
    paths: Sequence[Path],
    how: Preprocessing,
    raw: IO[bytes],
    *,
    threads: int,
    on_bad: Callable[[int, str], None],
    on_progress: Callable[[int], None],
) -> Images:
    """Decode files and append their pixels to an open file, image by image.

    Args:
        paths: the files.
        how: their preprocessing, with its channels.
        raw: opened for writing; gets uint8 (N, S, S, C), without any header.
        threads: that decode.
        on_bad: told the number of a file that cannot be read, and why; may raise to stop.
        on_progress: told the number of files done.
    """
    entry: list[int] = []
    frame: list[int] = []
    digests: list[bytes] = []
    thumbs: list[np.ndarray] = []
    rules: dict[str, int] = {}
    coloured = False
    for number, decoded in enumerate(in_order(lambda path: decode(path, how), paths, threads=threads)):
        if decoded.why:
            on_bad(number, decoded.why)
        for image, at, rule in zip(decoded.images, decoded.frames, decoded.rules, strict=True):
            pixels = image.tobytes()
            raw.write(pixels)
            entry.append(number)
            frame.append(at)
            digests.append(hashlib.sha256(pixels).digest()[:16])
            thumbs.append(thumb(image))
            rules[rule] = rules.get(rule, 0) + 1
            if how.channels == 3 and not coloured:
                coloured = bool((image[..., :1] != image).any())
        on_progress(number + 1)
    return Images(
        np.array(entry, np.int64),
        np.array(frame, np.int64),
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        np.stack(thumbs) if thumbs else np.zeros((0, THUMB**2), np.uint8),
        coloured,
        rules,
    )


def thumb(image: np.ndarray) -> np.ndarray:
    """Return an image (S, S, C) in grey at 16 x 16, each pixel the mean of what it covers: uint8 (256,)."""
    size = image.shape[0]
    edges = np.arange(THUMB) * size // THUMB
    grey = image.mean(2) if image.shape[2] > 1 else image[..., 0].astype(np.float64)
    sums = np.add.reduceat(np.add.reduceat(grey, edges, 0), edges, 1)
    widths = np.diff(np.append(edges, size))
    return np.rint(sums / np.outer(widths, widths)).astype(np.uint8).ravel()
