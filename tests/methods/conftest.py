import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fedistill.data.imageset import ImageSet

sys.path.insert(0, str(Path(__file__).parents[1]))  # the textbook versions, as `oracles.dc`


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order: what is compared bit for bit must not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def blobs():
    """Make a toy set: each class is a bright blob in a place of its own, with noise over it."""

    def make(counts=(9, 7, 8), *, size=8, channels=1, multilabel=False, seed=0, mirror=True) -> ImageSet:
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(len(counts)), counts)
        rows, columns = np.mgrid[:size, :size]
        images = rng.normal(80, 20, (len(labels), size, size, channels))
        for image, label in zip(images, labels, strict=True):
            centre = (label + 1) * size / (len(counts) + 1)
            image += 120 * np.exp(-((rows - centre) ** 2 + (columns - centre) ** 2) / size)[:, :, None]
        pixels = np.clip(images, 0, 255).astype(np.uint8)
        names = tuple(f"class {i}" for i in range(len(counts)))
        if multilabel:
            labels = (rng.random((len(labels), len(counts))) < 0.4).astype(np.int64)
            return ImageSet(pixels, labels, names, task="multi-label, binary-class", mirror=mirror)
        return ImageSet(pixels, labels.astype(np.int64), names, mirror=mirror)

    return make
