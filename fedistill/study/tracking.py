"""``--track``: curves, tables and pictures of a run, copied as they come to where a team looks at them.

``tensorboard=DIR``, ``mlflow=DIR`` or ``wandb=DIR`` write files below a folder; nothing is sent anywhere (Weights &
Biases is started in its offline mode). The run folder stays the truth: a tracker reads events and finished tables, and
takes part in nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedistill.core.events import Event
from fedistill.core.files import require_folder
from fedistill.errors import SettingError, nearest
from fedistill.importing.extras import optional

if TYPE_CHECKING:
    from fedistill.study.run import Finished

VALUES = ("loss", "validation_auc", "signal_to_noise")
"""Fields of an event that are curves over its steps."""


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

    def finish(self, finished: "Finished") -> None:
        """Copy the comparison and the pictures of a finished run."""
        for row in finished.comparison.to_dict("records"):
            budget = "" if row.get("ipc") is None or row["ipc"] != row["ipc"] else f" ipc {row['ipc']}"
            for metric in ("auc", "accuracy", "balanced_accuracy"):
                value = row.get(metric)
                if value is not None and value == value:
                    self.scalar(f"comparison/{row['scheme']}{budget}/{metric}", float(value), 0)
        for path in sorted(finished.root.glob("grids/*.png")):
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


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}
"""The programs."""


def track_words(words: Sequence[str]) -> list[tuple[type[Tracker], Path]]:
    """Return the trackers that words such as ``tensorboard=logs`` ask for.

    Raises:
        SettingError: a word is of another form, or no such program is known.
        RunFolderError: a folder cannot be written.
    """
    asked = []
    for word in words:
        name, equals, folder = word.partition("=")
        if name not in TRACKERS:
            raise SettingError(f"There is no tracker {name!r}.", mend=nearest(name, TRACKERS))
        if not equals or not folder:
            raise SettingError("This says nowhere to track to.", expected=f"{name}=DIR", found=word)
        require_folder(Path(folder), "--track")
        asked.append((TRACKERS[name], Path(folder)))
    return asked


@contextmanager
def tracking(words: Sequence[str], name: str) -> Iterator[list[Tracker]]:
    """Open the trackers that words ask for; close them after the block, however it ends.

    Args:
        words: such as ``tensorboard=logs``.
        name: of the run.

    Raises:
        SettingError: a word is of another form.
        DataError: a program's package is not installed.
    """
    with ExitStack() as opened:
        trackers = []
        for kind, folder in track_words(words):
            tracker = kind(folder, name)
            opened.callback(tracker.close)
            trackers.append(tracker)
        yield trackers
