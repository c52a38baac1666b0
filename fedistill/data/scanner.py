"""A hospital's scanner: what one device makes of every image, so that simulated hospitals differ as real ones do.

The steps come in the order in which a device has them, on linear intensities 0..255:

1. staining, in the specimen: light passes a film of dye (Beer-Lambert). Ruifrok & Johnston, *Quantification of
   histochemical staining by color deconvolution*, Anal. Quant. Cytol. Histol. 23:291 (2001), whose optical density is
   ``-log10(intensity / white)``. The shift is given per channel and not per dye: any amounts of any dyes shift the
   three channels' densities, and MedMNIST's colour sets do not share their dyes. The film covers the glass as well.
2. optics: blur, then the loss of resolution.
3. detector: gain, then noise; it saturates at black and white.
4. processing: gamma, then contrast; the result is rounded to 8 bits.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import numpy as np

from fedistill.core.ranges import AS_TUPLE, Range
from fedistill.core.seeds import rng
from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError

Factor = Annotated[float, Range(ge=0.1, le=10)]
Density = Annotated[float, Range(ge=-1, le=1)]

_SIZE = 28  # the image size that blur is counted in
_WHITE = 255.0
# To round is to add a half and cut off. Machines differ in the last bits of sums and powers, which would decide every
# tie; with a little more than a half all of them round ties up.
_HALF = 0.5 + 1e-7
_CHUNK = 1 << 16  # values worked on at once, few enough for a processor's cache; another number gives the same images


@dataclass(frozen=True)
class Scanner:
    """The settings of one device. Each default changes nothing.

    Args:
        gain: intensities are multiplied by it; 0.1 to 10.
        gamma: intensities (0..1) are raised to it; 0.1 to 10, below 1 brightens.
        contrast: distances to mid-grey are multiplied by it; 0.1 to 10. To mid-grey and not to the image's mean, for a
            device treats all images alike.
        blur: standard deviation of a Gaussian in pixels of a 28-pixel image, 0 to 10: it covers the same part of the
            picture at every size (0.7 means 1.6 pixels of a 64-pixel image). The edges reflect.
        noise: standard deviation as a share of the full range, 0 to 0.5; drawn for every pixel and channel.
        resolution: share of the image's own pixels kept along each side, 0.1 to 1: averaged to so many whole ones
            and interpolated back.
        stain: RGB only: added to the optical densities of red, green and blue; each -1 to 1, above 0 darkens.

    Raises:
        SettingError: a value outside its range.

    >>> print(Scanner(gain=1.2, stain=(0.05, -0.03, 0.02)))
    gain 1.2, stain 0.05 -0.03 0.02
    >>> print(Scanner())
    as published
    """

    gain: Factor = 1.0
    gamma: Factor = 1.0
    contrast: Factor = 1.0
    blur: Annotated[float, Range(ge=0, le=10)] = 0.0
    noise: Annotated[float, Range(ge=0, le=0.5)] = 0.0
    resolution: Annotated[float, Range(ge=0.1, le=1)] = 1.0
    stain: Annotated[tuple[Density, Density, Density], AS_TUPLE] | None = None

    def __post_init__(self) -> None:
        from fedistill.core.settings import checked_table  # needs pydantic, which images without a scanner do not

        checked_table(type(self), vars(self), "a scanner")

    @property
    def changes(self) -> dict[str, Any]:
        """Return the settings that change anything."""
        ours = {entry.name: (getattr(self, entry.name), entry.default) for entry in fields(self)}
        return {name: value for name, (value, nothing) in ours.items() if value != nothing and value != (0, 0, 0)}

    def __str__(self) -> str:
        words = [f"{k} {' '.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in self.changes.items()]
        return ", ".join(words) or "as published"


def acquire(images: ImageSet, scanner: Scanner, seed: int) -> ImageSet:
    """Return the images as this scanner would have taken them.

    Args:
        images: uint8 (N, H, W, C); so are those returned. A scanner without changes returns them untouched.
        scanner: its settings.
        seed: of the noise. An image's noise depends on the seed and on its own pixels and on nothing else: it is the
            same on every reading and whatever other images there are.

    Raises:
        SettingError: a stain, and images that have no colours.

    >>> x = ImageSet(np.full((1, 8, 8, 1), 100, np.uint8), np.array([0]), ("no", "yes"))
    >>> acquire(x, Scanner(gain=1.2), seed=0).images.max()
    np.uint8(120)
    """
    if not scanner.changes:
        return images
    if scanner.stain is not None and images.channels != 3:
        raise SettingError("The stain of grey images cannot be shifted.", expected="RGB images", mend="leave out stain")
    height, width = images.images.shape[1:3]
    rows, columns = (_optics(scanner, length, images.size) for length in (height, width))
    taken = np.empty_like(images.images)
    step = max(1, _CHUNK // (height * width * images.channels))
    for start in range(0, len(images), step):
        here = slice(start, start + step)
        taken[here] = _expose(images.images[here], scanner, rows, columns, seed)
    return replace(images, images=taken)


def _expose(pictures: np.ndarray, scanner: Scanner, rows: np.ndarray, columns: np.ndarray, seed: int) -> np.ndarray:
    """Apply the scanner to one chunk, uint8 (n, H, W, C).

    Computes in float64 (n, C, H, W), in grey levels rather than 0..1: the optics' weights are often halves and
    quarters, and then nothing is rounded before the end.
    """
    light = pictures.transpose(0, 3, 1, 2).astype(np.float64)
    if scanner.stain is not None:
        light *= (10.0 ** -np.array(scanner.stain)).reshape(3, 1, 1)
    if scanner.blur > 0 or scanner.resolution < 1:
        light = rows @ light @ columns.T
    light *= scanner.gain
    if scanner.noise > 0:
        for at, picture in enumerate(pictures):
            content = hashlib.sha256(picture.tobytes()).hexdigest()
            light[at] += scanner.noise * _WHITE * rng(seed, "noise", content).standard_normal(light[at].shape)
    np.clip(light, 0, _WHITE, out=light)
    if scanner.gamma != 1:
        light /= _WHITE
        np.power(light, scanner.gamma, out=light)
        light *= _WHITE
    if scanner.contrast != 1:
        light -= _WHITE / 2
        light *= scanner.contrast
        light += _WHITE / 2
        np.clip(light, 0, _WHITE, out=light)
    light += _HALF
    return light.astype(np.uint8).transpose(0, 2, 3, 1)


def _optics(scanner: Scanner, length: int, size: int) -> np.ndarray:
    """Blur and loss of resolution along one side of ``length`` pixels: float64 (length, length), each row sums to 1."""
    through = np.eye(length)
    if scanner.blur > 0:
        through = _blur(scanner.blur * size / _SIZE, length)
    if scanner.resolution < 1:
        through = _resample(max(1, round(scanner.resolution * length)), length) @ through
    return through


def _blur(sigma: float, length: int) -> np.ndarray:
    """Return the matrix (length, length) of a Gaussian cut off at four sigma, reflected at the edges."""
    sigma = max(sigma, 1e-3)  # less than that moves nothing, and its square may be zero
    reach = int(np.ceil(4 * sigma))
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    weight /= weight.sum()
    at = (np.arange(length)[:, None] + offset) % (2 * length)  # reflected, the line repeats after twice its length
    at = np.where(at < length, at, 2 * length - 1 - at)
    through = np.zeros((length, length))
    np.add.at(through, (np.arange(length)[:, None], at), np.broadcast_to(weight, at.shape))
    return through


def _resample(fewer: int, length: int) -> np.ndarray:
    """Average ``length`` pixels over ``fewer`` wide ones, and interpolate linearly between the middles of those."""
    edge = np.arange(fewer + 1) * (length / fewer)
    pixel = np.arange(length)
    overlap = np.minimum(edge[1:, None], pixel + 1) - np.maximum(edge[:-1, None], pixel)
    average = np.clip(overlap, 0, None) * (fewer / length)
    middle = np.clip((pixel + 0.5) * (fewer / length) - 0.5, 0, fewer - 1)
    between: np.ndarray = np.clip(1 - np.abs(middle[:, None] - np.arange(fewer)), 0, None)
    return between @ average
