"""`fedistill.load_release`: what `fedistill export` or a site wrote, as tensors and as a dataset of PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from fedistill.data.imageset import MEAN, STD
from fedistill.data.sources.npz import read_npz, read_text
from fedistill.errors import DataError
from fedistill.export.pool.select import select_pool
from fedistill.release.header import LARGEST_HEADER, strict_json


@dataclass(frozen=True, eq=False)
class LoadedRelease:
    """Synthetic images as a network takes them.

    Args:
        images: float32 (N, C, H, W); real pixels would lie in -1..1.
        labels: int64 (N,), or float32 (N, L) of 0 and 1.
        class_names: one per class (multi-label: per label).
        card: what they are, who made them, under which guarantee; empty where the file does not say.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    card: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dataset(self) -> TensorDataset:
        """Return pairs of image and label, for a ``torch.utils.data.DataLoader``."""
        return TensorDataset(self.images, self.labels)


def load_release(path: str | Path, *, ipc: int | None = None) -> LoadedRelease:
    """Read a Release, or what ``fedistill export`` made of a pool: ``.npz``, ``.safetensors``, or a folder.

    Args:
        path: of the file; or of the folder of PNGs or Parquet files.
        ipc: the budget, of a Release file with several.

    Returns:
        images, labels and a ``torch.utils.data.Dataset`` of them.

    Raises:
        DataError: there is no such file, or it is damaged or of another kind. A torch file is read by
            ``torch.load(path, weights_only=True)``: FeDistill never unpickles.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}.", mend="check the path")
    if path.suffix == ".npz":
        images = read_npz(path)
        return LoadedRelease(images.pixels(), images.targets(), images.class_names, _card(read_text(path, "card")))
    if path.suffix == ".pt":
        raise DataError(
            f"{path} is a torch file, which FeDistill does not open because such files can run code.",
            expected=".npz, .safetensors, or a folder of PNGs or Parquet",
            mend="torch.load(path, weights_only=True) reads it",
        )
    data = path.read_bytes()
    about = _pool_header(data)
    if about is None:
        pool = select_pool(path, ipc=ipc)
        return LoadedRelease(pool.images, pool.labels, pool.class_names, pool.card)
    from safetensors.torch import load

    try:
        tensors = load(data)
        return _checked(tensors["images"], tensors["labels"], about)
    except Exception as error:  # of whatever kind the damage is
        raise _damaged(path, error) from error


def _pool_header(data: bytes) -> dict[str, Any] | None:
    """Return an exported pool's description; None where the file is something else."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(LARGEST_HEADER, len(data) - 8):
        return None
    try:
        read: dict[str, Any] = strict_json(strict_json(data[8 : 8 + length])["__metadata__"]["fedistill-pool"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return read


def _checked(images: Tensor, labels: Tensor, about: dict[str, Any]) -> LoadedRelease:
    names = tuple(map(str, about["class_names"]))
    fits = images.ndim == 4 and len(images) == len(labels) and images.dtype == torch.float32
    if labels.ndim == 2:
        fits = fits and labels.shape[1] == len(names)
    elif len(labels):
        fits = fits and int(labels.min()) >= 0 and int(labels.max()) < len(names)
    if not fits or not torch.isfinite(images).all():
        raise ValueError("images, labels and class names that do not fit together")
    return LoadedRelease(images, labels, names, dict(about["card"]))


def _folder(path: Path) -> LoadedRelease:
    try:
        parquet = sorted((path / "data").glob("*.parquet"))
        return _parquet(parquet[0]) if parquet else _pngs(path)
    except DataError:
        raise
    except Exception as error:  # each format's parser has its own errors
        raise _damaged(path, error) from error


def _parquet(path: Path) -> LoadedRelease:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    about = strict_json(table.schema.metadata[b"fedistill-pool"])
    pixels = np.stack([np.asarray(row.as_py(), np.float32) for row in table["pixels"]])
    images = torch.from_numpy(pixels).view(-1, *map(int, about["shape"]))
    labels = torch.tensor(table["label"].to_pylist())
    return _checked(images, labels.float() if labels.ndim == 2 else labels, about)


def _pngs(path: Path) -> LoadedRelease:
    from fedistill.importing.listing.tables import read_frame
    from fedistill.importing.readers.raster import RasterReader

    table = path / "labels.csv"
    if not table.is_file():
        raise DataError(f"{path} is no exported pool.", expected="a folder with labels.csv or data/*.parquet")
    frame, about = read_frame(table), strict_json((path / "card.json").read_bytes())
    reader, values = RasterReader(), []
    for name in frame["image"]:
        [picture] = reader.pictures(path / name, [0])
        values.append(picture.values if picture.values.ndim == 3 else picture.values[..., None])
    levels = torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2)
    images = (levels.float() / 255 - MEAN) / STD
    names = about["class_names"]
    if "label" in frame:
        labels = torch.tensor([names.index(word) for word in frame["label"]])
    else:
        labels = torch.tensor(frame[names].astype(int).to_numpy(), dtype=torch.float32)
    return _checked(images, labels, about)


def _card(text: str | None) -> dict[str, Any]:
    read = None if text is None else strict_json(text)
    return read if isinstance(read, dict) else {}


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is no exported pool, or is damaged.",
        expected="what `fedistill export` wrote",
        found=f"{type(error).__name__}: {str(error)[:200]}",
        mend="export it again",
    )
