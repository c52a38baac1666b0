"""One hospital alone: its images in, a Release file out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedistill.data import load_dataset, to_phantom
from fedistill.distill import METHODS, distill, method_named, privacy_statement, provenance, settings_for
from fedistill.distill.release import Release, pack
from fedistill.errors import SettingError
from fedistill.files import write_atomic


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
    on_event: Callable[[dict[str, Any]], None],
) -> str:
    """Distil the training split and write the Release; one line that says what was written.

    Raises:
        SettingError: the method, a setting or the file cannot be.
        DataError: the data cannot be had.
    """
    method_named(method)
    settings_for(method, settings, ipc=ipc)
    if out.exists():
        raise SettingError(f"{out} exists.", mend="choose another --out; nothing of yours is overwritten")
    images = load_dataset(to_phantom(data) if phantom else data, "train", size=size, data_root=data_root)
    made = distill(images, method=method, ipc=ipc, seed=seed, width=width, settings=settings, on_event=on_event)
    real = METHODS[method].real
    release = Release(
        site="alone",
        scheme=method,
        seed=seed,
        real=real,
        sets={made.ipc: pack(made, real=real)},
        provenance=provenance(method, settings, model="convnet", width=width, images=images),
        privacy=privacy_statement(method),
    )
    content = release.to_bytes()
    write_atomic(out, content)
    return f"{out}: {len(made)} images of {images.n_classes} classes from {len(images)}, {len(content):,} bytes"
