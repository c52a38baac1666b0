"""``--track`` and ``[track]``: curves, tables and pictures of a run, copied as they come to where a team looks at them.

TensorBoard, MLflow and Weights & Biases each get files below a folder; nothing is sent anywhere (Weights & Biases is
started in its offline mode). The run folder stays the truth: a tracker reads events and finished tables, and takes part
in nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedistill.config.dataset_names import with_variable
from fedistill.core.events import Event
from fedistill.core.files import require_folder
from fedistill.importing.extras import optional

VALUES = ("loss", "validation_auc", "signal_to_noise")
"""Fields of an event that are curves over its steps."""

METRICS = ("auc", "accuracy", "balanced_accuracy")
"""Columns of the comparison that are copied."""


class Tracker(ABC):
    """Copies what a run says to one program's files.

    Args:
        folder: where they go.
        name: of the run.
    """

    @abstractmethod
    def __init__(self, folder: Path, name: str) -> None: ...

    def __call__(self, event: Event) -> None:
        """Copy an event's curves."""
        place = "/".join(part for part in (event.point, event.site or "server", event.job or event.method) if part)
        for name in VALUES:
            value = getattr(event, name)
            if value is not None and np.isfinite(value):
                self.scalar(f"{place}/{name}", float(value), event.step or 0)

    def finish(self, root: Path, comparison: pd.DataFrame, swept: Sequence[str] = ()) -> None:
        """Copy the comparison and the pictures of a finished run.

        Args:
            root: the run folder.
            comparison: the table of that name in it.
            swept: its columns of swept settings.
        """
        several = [name for name in ("partition", "recipe", "model") if comparison[name].nunique() > 1]
        for row in comparison.to_dict("records"):
            line = line_name({str(name): value for name, value in row.items()}, [*swept, *several])
            for metric in METRICS:
                if pd.notna(row[metric]):
                    self.scalar(f"comparison/{line}/{metric}", float(row[metric]), 0)
        for path in sorted(root.glob("grids/*.png")):
            self.picture(f"grids/{path.stem}", path)

    @abstractmethod
    def scalar(self, name: str, value: float, step: int) -> None:
        """Copy one point of a curve."""

    @abstractmethod
    def picture(self, name: str, path: Path) -> None:
        """Copy a PNG file."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


class TensorBoard(Tracker):
    """Event files for ``tensorboard --logdir DIR``."""

    def __init__(self, folder: Path, name: str) -> None:
        optional("tensorboard", extra="tensorboard", purpose="Writing TensorBoard's files")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / name))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Copy one point of a curve."""
        self._writer.add_scalar(name, value, step)

    def picture(self, name: str, path: Path) -> None:
        """Copy a PNG file."""
        from PIL import Image

        self._writer.add_image(name, np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class MLflow(Tracker):
    """A file store for ``mlflow ui --backend-store-uri DIR``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._mlflow: Any = optional("mlflow", extra="mlflow", purpose="Writing MLflow's files")
        self._mlflow.set_tracking_uri(folder.resolve().as_uri())
        self._mlflow.set_experiment(name)
        self._mlflow.start_run(run_name=name)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Copy one point of a curve."""
        allowed = "".join(c if c.isalnum() or c in "_-. /" else "-" for c in name)
        self._mlflow.log_metric(allowed, value, step=step)

    def picture(self, name: str, path: Path) -> None:
        """Copy a PNG file."""
        self._mlflow.log_artifact(str(path), artifact_path=str(Path(name).parent))

    def close(self) -> None:
        """Write what is left."""
        self._mlflow.end_run()


class WandB(Tracker):
    """An offline run of Weights & Biases, which ``wandb sync`` would send."""

    def __init__(self, folder: Path, name: str) -> None:
        self._wandb: Any = optional("wandb", extra="wandb", purpose="Writing files of Weights & Biases")
        folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(mode="offline", dir=str(folder), project="fedistill", name=name)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Copy one point of a curve; its own step is a value beside it, for theirs may only grow."""
        self._run.log({name: value, f"{name}/step": step})

    def picture(self, name: str, path: Path) -> None:
        """Copy a PNG file."""
        self._run.log({name: self._wandb.Image(str(path))})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


def line_name(row: Mapping[str, Any], also: Sequence[str] = ()) -> str:
    """Return a line of the comparison in words, such that no two lines of a table have the same.

    Args:
        row: the line, by column.
        also: further columns in which the table's lines differ.

    >>> row = {"scheme": "dc", "ipc": 10.0, "rounds": None, "left_out": "north", "recipe": "common"}
    >>> line_name(row), line_name(row, ["recipe"])
    ('dc ipc 10 without north', 'dc ipc 10 without north, recipe common')
    """
    words = [str(row["scheme"])]
    words += [f"{name} {int(row[name])}" for name in ("ipc", "rounds") if pd.notna(row[name])]
    words += [f"without {row['left_out']}"] if isinstance(row["left_out"], str) and row["left_out"] else []
    return ", ".join([" ".join(words), *(f"{name} {row[name]}" for name in also if pd.notna(row[name]))])


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""The programs, by the names of `fedistill.config.track.PROGRAMS`."""


@contextmanager
def tracking(track: Mapping[str, str], name: str) -> Iterator[list[Tracker]]:
    """Open trackers before any work; close them after the block, however it ends.

    Args:
        track: the folder for each program, by its name.
        name: of the run.

    Raises:
        RunFolderError: a folder cannot be written.
        DataError: a program's package is not installed.
        PlanError: a folder begins with a variable that the environment does not have.
    """
    places = {program: Path(with_variable(place)) for program, place in track.items()}
    for program, folder in places.items():
        require_folder(folder, f"{program}'s folder")
    with ExitStack() as opened:
        trackers = []
        for program, folder in places.items():
            tracker = TRACKERS[program](folder, name)
            opened.callback(tracker.close)
            trackers.append(tracker)
        yield trackers
