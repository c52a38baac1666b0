"""A pool as ``npz``, ``png``, ``parquet``, ``torch`` or ``safetensors``.

``npz`` and ``png`` have eight bits a pixel, with black and white where real images have theirs: synthetic pixels beyond
are cut off, and the card says how many. ``parquet`` holds both, ``torch`` and ``safetensors`` every pixel as networks
were trained on it.
"""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedistill.core.files import require_folder, require_new_file, write_atomic
from fedistill.data.imageset import MEAN, STD
from fedistill.errors import SettingError, nearest
from fedistill.export.pool.card import card_text
from fedistill.export.pool.select import SyntheticPool
from fedistill.study.folder.tables_on_disk import csv_text

SUFFIXES = {"npz": ".npz", "torch": ".pt", "safetensors": ".safetensors"}
"""Endings of the formats that are one file; the others are folders."""


def write_pool(pool: SyntheticPool, out: Path, kind: str) -> list[Path]:
    """Write a pool, and its card beside or within it; return what was written.

    Args:
        pool: the images.
        out: a file that ends as its format does, or a folder; must not exist.
        kind: ``npz``, ``png``, ``parquet``, ``torch`` or ``safetensors``.

    Raises:
        SettingError: there is no such format, ``out`` exists, or it ends otherwise.
        RunFolderError: it cannot be written.
    """
    if kind not in FORMATS:
        raise SettingError(f"There is no format {kind!r}.", mend=nearest(kind, FORMATS))
    suffix = SUFFIXES.get(kind, "")
    if suffix and out.suffix != suffix:
        raise SettingError(f"{out} does not end in {suffix}.", expected=f"a path that ends in {suffix}", found=out.name)
    card_path = out.with_suffix(".card.md") if suffix else out / "README.md"
    for path in (out, card_path) if suffix else (out,):
        if os.path.lexists(path):
            raise SettingError(f"{path} exists.", mend="choose another --out; existing files are never overwritten")
        require_new_file(path, "--out")
    if suffix:
        write_atomic(out, FILES[kind](pool))
        write_atomic(card_path, card_text(pool, clipped(pool) if kind == "npz" else None))
        return [out, card_path]
    require_folder(out.parent, "--out")
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name[:80]}.", suffix=".partial", dir=out.parent))
    try:
        beside.chmod(0o755)
        for name, content in FOLDERS[kind](pool).items():
            write_atomic(beside / name, content)
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return [out, card_path]


def to_levels(images: Tensor) -> np.ndarray:
    """Return network input (N, C, H, W) in eight bits, uint8 (N, H, W, C): the inverse of what is done to real images.

    >>> to_levels(torch.tensor([-1.0, 0.0, 1.0, 1.5]).view(4, 1, 1, 1)).flatten().tolist()
    [0, 128, 255, 255]
    """
    values = (images * STD + MEAN).clamp(0, 1) * 255
    return values.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def clipped(pool: SyntheticPool) -> float:
    """Return the share of pixels beyond the black and white of real images, which eight bits cut off."""
    return float((pool.images.abs() > 1 + 1 / 255).float().mean())


def _npz(pool: SyntheticPool) -> bytes:
    """Use MedMNIST's layout: the pool is ``train``; ``val`` and ``test`` are empty, for a pool has no real images."""
    levels = to_levels(pool.images)
    images = levels[..., 0] if levels.shape[-1] == 1 else levels
    labels = pool.labels.numpy().astype(np.int64)
    arrays = {"train_images": images, "train_labels": labels}
    for split in ("val", "test"):
        arrays |= {f"{split}_images": images[:0], f"{split}_labels": labels[:0]}
    arrays |= {"class_names": np.array(pool.class_names), "card": np.array(json.dumps(pool.card, sort_keys=True))}
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)  # type: ignore[arg-type]
    return written.getvalue()


def _torch(pool: SyntheticPool) -> bytes:
    """Store plain tensors, lists and text: ``torch.load(path, weights_only=True)`` reads them."""
    written = io.BytesIO()
    content = {
        "images": pool.images,
        "labels": pool.labels,
        "class_names": list(pool.class_names),
        "sites": list(pool.sites),
        "card": json.dumps(pool.card, sort_keys=True),
    }
    torch.save(content, written)
    return written.getvalue()


def _safetensors(pool: SyntheticPool) -> bytes:
    from safetensors.torch import save

    about = {"class_names": list(pool.class_names), "sites": list(pool.sites), "card": pool.card}
    tensors = {"images": pool.images.contiguous(), "labels": pool.labels.contiguous()}
    return save(tensors, metadata={"fedistill-pool": json.dumps(about, sort_keys=True)})


def png_of(levels: np.ndarray) -> bytes:
    """Return one image, uint8 (H, W, C), as PNG."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(written, "PNG")
    return written.getvalue()


def _png(pool: SyntheticPool) -> dict[str, bytes | str]:
    """Make a folder of PNGs and ``labels.csv``, which `fedistill import` reads again."""
    import pandas as pd

    names = [f"images/{number:05}.png" for number in range(len(pool.images))]
    frame = pd.DataFrame({"image": names})
    if pool.multilabel:
        for k, name in enumerate(pool.class_names):
            frame[name] = pool.labels[:, k].numpy().astype(int)
    else:
        frame["label"] = [pool.class_names[int(k)] for k in pool.labels]
    frame["made_by"] = list(pool.sites)
    files: dict[str, bytes | str] = {
        name: png_of(levels) for name, levels in zip(names, to_levels(pool.images), strict=True)
    }
    about = json.dumps({"class_names": list(pool.class_names), "card": pool.card}, indent=2, sort_keys=True)
    return {
        **files,
        "labels.csv": csv_text(frame),
        "card.json": about + "\n",
        "README.md": card_text(pool, clipped(pool)),
    }


def _parquet(pool: SyntheticPool) -> dict[str, bytes | str]:
    """Make a folder that Hugging Face's ``datasets`` loads: PNGs, labels, and every pixel as a float."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    label: dict[str, object] = {"names": list(pool.class_names), "_type": "ClassLabel"}
    features: dict[str, object] = {
        "image": {"_type": "Image"},
        "label": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"} if pool.multilabel else label,
        "site": {"dtype": "string", "_type": "Value"},
        "pixels": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"},
    }
    pictures = [{"bytes": png_of(each), "path": f"{k:05}.png"} for k, each in enumerate(to_levels(pool.images))]
    labels = pool.labels.numpy().astype(np.int64)
    table = pa.table(
        {
            "image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array(labels.tolist(), pa.list_(pa.int64()) if pool.multilabel else pa.int64()),
            "site": pa.array(list(pool.sites), pa.string()),
            "pixels": pa.array(list(pool.images.flatten(1).numpy()), pa.list_(pa.float32())),
        }
    )
    about = {
        "shape": list(pool.images.shape[1:]),
        "class_names": list(pool.class_names),
        "card": pool.card,
    }
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}}), "fedistill-pool": json.dumps(about)}
    )
    written = io.BytesIO()
    pq.write_table(table, written)
    front = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n---\n"
    )
    return {
        "data/train-00000-of-00001.parquet": written.getvalue(),
        "README.md": front + card_text(pool, clipped(pool)),
    }


FILES: dict[str, Callable[[SyntheticPool], bytes]] = {"npz": _npz, "torch": _torch, "safetensors": _safetensors}
FOLDERS: dict[str, Callable[[SyntheticPool], dict[str, bytes | str]]] = {"png": _png, "parquet": _parquet}
FORMATS = (*FILES, *FOLDERS)
