"""`fedistill.Model`: a study's network, or an ensemble of them, in use on new images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedistill.data.imageset import MEAN, STD, ImageSet
from fedistill.errors import DataError
from fedistill.export.network.model_file import ModelFile, read_model
from fedistill.importing.decode import decode
from fedistill.importing.picture import Picture, Unreadable
from fedistill.importing.preprocessing import Preprocessing, apply
from fedistill.training.fit import predict, probabilities


class Model:
    """Networks that give probabilities for images.

    Args:
        content: of a model file.
    """

    def __init__(self, content: ModelFile) -> None:
        self.content = content
        self._network = content.architecture.build()

    @classmethod
    def load(cls, path: str | Path) -> "Model":
        """Read a model file.

        Raises:
            DataError: it cannot be read, or is no model file.
        """
        return cls(read_model(Path(path)))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of the probabilities."""
        return self.content.class_names

    @property
    def card(self) -> dict[str, Any]:
        """Return scheme, guarantee, test figures and limits."""
        return self.content.card

    def predict(self, images: "ImageSet | np.ndarray | Sequence[str | Path]") -> np.ndarray:
        """Return probabilities, the mean over the file's networks, float32 (N, K).

        Args:
            images: an `ImageSet`; an array (N, H, W) or (N, H, W, C); or paths of files, each with one picture.

        Raises:
            DataError: images that cannot be brought to what the network takes; the message names the first.
        """
        return self.predict_each(self.prepared(images)).mean(0)

    def predict_each(self, images: np.ndarray) -> np.ndarray:
        """Return the probabilities of every network, float32 (networks, N, K).

        Args:
            images: uint8 (N, S, S, C), as the network takes them.
        """
        multilabel = self.content.multilabel
        x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        x = x.to(torch.float32, memory_format=torch.contiguous_format).div_(255).sub_(MEAN).div_(STD)
        each = [
            torch.stack(
                [probabilities(predict(self._network, params, x), multilabel=multilabel) for params in group]
            ).mean(0)
            for group in self.content.groups
        ]
        return torch.stack(each).numpy()

    def prepared(self, images: "ImageSet | np.ndarray | Sequence[str | Path]") -> np.ndarray:
        """Return images as the network takes them, uint8 (N, S, S, C), by the preprocessing of its training data.

        Raises:
            DataError: they cannot be brought there.
        """
        built = self.content.architecture
        wanted = (built.size, built.size, built.channels)
        if isinstance(images, ImageSet):
            return self._fitting(images.images)
        if isinstance(images, np.ndarray):
            if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
                raise DataError(
                    "These images cannot be used.", expected="(N, H, W) or (N, H, W, C)", found=images.shape
                )
            whole = images[..., None] if images.ndim == 3 else images
            if whole.dtype == np.uint8 and whole.shape[1:] == wanted:
                return whole
            plain = whole[..., 0] if whole.shape[-1] == 1 else whole
            return self._stacked(
                (f"image {k}", lambda each=each: apply(Picture(each), self.preprocessing))
                for k, each in enumerate(plain)
            )
        return self._stacked((str(path), lambda path=path: self.picture(Path(path))) for path in images)

    @property
    def preprocessing(self) -> Preprocessing:
        """Return what is done to new images.

        Raises:
            DataError: the model's data had no record of it, so that images must come as the network takes them.
        """
        built, how = self.content.architecture, self.content.preprocessing
        if how is None:
            raise DataError(
                "This model does not say how its training images were prepared.",
                expected=f"images of {built.size} x {built.size} pixels with {built.channels} channels, uint8, "
                "prepared as those were",
                mend="hand over an .npz of such images; models of data that `fedistill import` made take any file",
            )
        return how

    def picture(self, path: Path) -> np.ndarray:
        """Return the single picture of a file as the network takes it, uint8 (S, S, C).

        Raises:
            Unreadable: it cannot be read, or has several pictures.
        """
        read = decode(path, self.preprocessing)
        if read.why:
            raise Unreadable(read.why)
        if len(read.images) != 1:
            raise Unreadable(f"{len(read.images)} pictures in one file")
        image: np.ndarray = read.images[0]
        return image

    def _fitting(self, images: np.ndarray) -> np.ndarray:
        built = self.content.architecture
        if images.shape[1:] != (built.size, built.size, built.channels):
            raise DataError(
                "These images do not fit the network.",
                expected=f"(N, {built.size}, {built.size}, {built.channels})",
                found=images.shape,
                mend="import them with the same --size and --colour as its training images",
            )
        return images

    def _stacked(self, each: Iterator[tuple[str, Any]]) -> np.ndarray:
        images = []
        for name, make in each:
            try:
                images.append(make())
            except Unreadable as error:
                raise DataError(f"{name} cannot be used.", expected="one readable picture", found=error) from error
        if not images:
            raise DataError("There are no images.", expected="at least one")
        return self._fitting(np.stack(images))
