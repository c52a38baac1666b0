"""Distillation of one hospital's images to a Release file."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedistill.core.events import OnEvent
from fedistill.core.files import require_folder, require_new_file, write_atomic
from fedistill.core.precision import resolve
from fedistill.core.ranges import detail
from fedistill.core.store import KeptCheckpoints, Store
from fedistill.data import load_dataset, to_phantom
from fedistill.errors import SettingError
from fedistill.methods import METHODS, distill, labels_for, privacy_statement, provenance, settings_for
from fedistill.methods.engine.soft_labels import STATED
from fedistill.release.release import Release, pack, require_encoding
from fedistill.training.device import device_for


def distill_to_file(
    data: str,
    out: Path,
    *,
    method: str,
    ipc: int,
    seed: int,
    width: int,
    size: int | None,
    data_root: str | None,
    phantom: bool,
    settings: Mapping[str, Any],
    precision: str,
    device: str,
    encoding: str,
    on_event: OnEvent,
) -> str:
    """Distil a training split, write the Release, and return a one-line summary.

    Checkpoints are kept in a hidden folder beside the file until it is written, so that the same call resumes.

    Raises:
        SettingError: the method, a setting, the encoding or the file is invalid.
        DataError: the data cannot be loaded.
        RunFolderError: the folder cannot be written to.
    """
    settings_for(method, settings, ipc=ipc)  # before anything is loaded
    require_encoding(encoding)
    device = str(device_for(0 if device == "cpu" else 1)) if device in ("cpu", "cuda") else _no_such(device)
    precision = resolve(precision, width=width, device=device)
    if os.path.lexists(out):
        raise SettingError(f"{out} exists.", mend="choose another --out; existing files are never overwritten")
    require_new_file(out, "--out")
    work = out.with_name(f".{out.name}.work")
    require_folder(work, "The folder beside --out,")
    name = to_phantom(data) if phantom else data
    images, val = (load_dataset(name, split, size=size, data_root=data_root) for split in ("train", "val"))
    labels = labels_for(method, settings)
    chosen = detail(settings_for(method, settings, ipc=ipc))
    store = Store(work)
    synthetic = distill(
        images,
        method=method,
        ipc=ipc,
        seed=seed,
        width=width,
        settings=settings,
        val=val if len(val) else None,
        precision=precision,
        device=device,
        entropy="system",  # a hospital's own images, to be shared: not a simulation
        on_event=on_event,
        remember=store.remember,
        checkpoints=KeptCheckpoints(store),
    )
    real = METHODS[method].real
    release = Release(
        site="alone",
        scheme=method,
        seed=seed,
        real=real,
        sets={synthetic.ipc: pack(synthetic, real=real, encoding=encoding)},
        provenance=provenance(
            method,
            chosen,
            model="convnet",
            width=width,
            precision=precision,
            images=images,
            labels=labels,
        ),
        privacy=privacy_statement(
            method,
            [settings_for(method, settings, ipc=ipc)],
            groups=images.groups is not None,
            entropy="system",
        )
        + (STATED if labels.soft else ""),
    )
    content = release.to_bytes()
    write_atomic(out, content)
    shutil.rmtree(store.root, ignore_errors=True)
    return f"{out}: {len(synthetic)} images of {images.n_classes} classes from {len(images)}, {len(content):,} bytes"


def _no_such(device: str) -> str:
    raise SettingError("There is no such device.", expected="cpu or cuda", found=device)
