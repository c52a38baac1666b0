"""Release: synthetic sets as they leave a site, eight bits a pixel, with provenance and a privacy statement.

A Release file is safetensors: for every budget K ``ipcK.images`` (N, C, H, W), ``ipcK.scale`` and ``ipcK.offset``
float32 (C,), ``ipcK.labels``, and where there are any ``ipcK.lr``, ``ipcK.draw`` and ``ipcK.soft``; schemes without a
budget use ``all.`` for ``ipcK.``. Its metadata is one JSON string; where images are packed
(`fedistill.training.packing`), ``pack`` in it says how many to a side, by budget. It holds no clock and no name of a
machine: same seed, same bytes. Nothing in it is ever unpickled.

Images are uint8 unless a simulation asks for another encoding, float16 or float32; real images, which came from eight
bits, are uint8 always. One formula reads them all: a pixel's value is ``offset + scale * images`` of its channel, with
scale 1 and offset 0 for floats. So a set says by its dtype how it is encoded, and the format's number is 1 for each.
What a pixel may lose: uint8, half a step of its channel, (largest - smallest) / 510; float16, 2^-11 of its value (below
2^-14, 2^-25); float32, nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fedistill.errors import ReleaseError, SettingError, nearest
from fedistill.methods.engine.method import SyntheticSet
from fedistill.methods.registry import method_of
from fedistill.release.header import read_header, tensor_named
from fedistill.training.packing import repeated

FORMAT = 1
Encoding = Literal["uint8", "float16", "float32"]
"""Encodings of a pixel on the wire."""

ENCODINGS: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(Encoding)}
REAL_SCALE, REAL_OFFSET = 2 / 255, -1.0  # real pixels are k / 255 with mean and standard deviation 0.5 taken out


TENSORS = ("images", "scale", "offset", "labels", "lr", "draw", "soft")
"""Tensors of a set."""


@dataclass(frozen=True, eq=False)
class Packed:
    """A SyntheticSet encoded for the wire.

    Args:
        images: uint8, float16 or float32 (N, C, H, W); a pixel's value is ``offset + scale * images`` of its channel.
        scale, offset: float32 (C,); 1 and 0 where the images are floats.
        labels: int64 (N,) or float32 (N, L).
        lr: float32 (1,), the learned step size; or None.
        draw: int64 (N,), which independent draw an image belongs to; or None.
        pack: smaller images along each side of one.
        soft: float32 (N * pack * pack, classes), soft labels of the images unpacked; or None.
    """

    images: Tensor
    scale: Tensor
    offset: Tensor
    labels: Tensor
    lr: Tensor | None = None
    draw: Tensor | None = None
    pack: int = 1
    soft: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, without those that are None."""
        named = {name: getattr(self, name) for name in TENSORS}
        return {name: value for name, value in named.items() if value is not None}


def require_encoding(name: str) -> None:
    """Raise SettingError for what is none of `ENCODINGS`; to be called before any work."""
    if name not in ENCODINGS:
        raise SettingError(f"There is no encoding {name!r}.", mend=nearest(name, ENCODINGS))


def pack(synthetic: SyntheticSet, *, real: bool, encoding: str = "uint8") -> Packed:
    """Encode images for the wire; real images, which came from eight bits, are uint8 and lose nothing.

    Packed, real pixels are means, and lose half a level.

    Args:
        synthetic: the images.
        real: whether they are real.
        encoding: of synthetic images, one of `ENCODINGS`.

    Raises:
        ReleaseError: a pixel is not finite, or beyond what float16 can hold. Such images never leave a site.
        SettingError: there is no such encoding.

    >>> made = SyntheticSet(torch.tensor([-1.0, 0.1, 2.0]).view(3, 1, 1, 1), torch.tensor([0, 1, 1]), ipc=2)
    >>> pack(made, real=False).images.flatten().tolist()
    [0, 94, 255]
    >>> [round(v, 5) for v in pack(made, real=False, encoding="float16").images.flatten().tolist()]
    [-1.0, 0.09998, 2.0]
    """
    require_encoding(encoding)
    x = synthetic.images
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        raise ReleaseError(
            "Images with pixels that are not numbers do not leave a site.",
            expected="finite pixels",
            found=f"{bad} of {len(x)} images with NaN or infinity",
            mend="lower the method's lr_img",
        )
    if real or encoding == "uint8":
        images, scale, offset = _levels(x, real=real)
    else:
        _require_room(x, encoding)
        images = x.to(ENCODINGS[encoding]).contiguous()
        scale, offset = torch.ones(x.shape[1]), torch.zeros(x.shape[1])
    lr = None if synthetic.lr is None else torch.tensor([synthetic.lr], dtype=torch.float32)
    labels, soft = (None if each is None else each.contiguous() for each in (synthetic.labels, synthetic.soft))
    assert labels is not None
    return Packed(images, scale, offset, labels, lr, synthetic.draw, synthetic.pack, soft)


def _levels(x: Tensor, *, real: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise images to 256 levels a channel: uint8 (N, C, H, W), and scale and offset, float32 (C,)."""
    channels = x.shape[1]
    if real:
        scale, offset = torch.full((channels,), REAL_SCALE), torch.full((channels,), REAL_OFFSET)
    else:
        flat = x.transpose(0, 1).flatten(1)
        offset = flat.amin(1)
        scale = (flat.amax(1) - offset) / 255
    step = torch.where(scale > 0, scale, torch.ones_like(scale))  # one grey value throughout: all zeros, all offset
    levels = (x - offset[:, None, None]) / step[:, None, None]
    return levels.round().clamp(0, 255).to(torch.uint8).contiguous(), scale, offset


def _require_room(x: Tensor, encoding: str) -> None:
    most, largest = torch.finfo(ENCODINGS[encoding]).max, float(x.abs().max()) if x.numel() else 0.0
    if largest > most:
        raise ReleaseError(
            f"Images with pixels beyond what {encoding} holds do not leave a site: they would arrive as infinity.",
            expected=f"pixels of at most {most:g} in size",
            found=f"{largest:g}",
            mend='choose encoding = "uint8" or "float32"; or lower the lr_img of the method: real pixels lie in -1..1',
        )


def unpack(packed: Packed, ipc: int | None) -> SyntheticSet:
    """Decode the SyntheticSet whose `shown` a server trains on."""
    images = packed.images.float() * packed.scale[:, None, None] + packed.offset[:, None, None]
    lr = None if packed.lr is None else float(packed.lr[0])
    return SyntheticSet(images, packed.labels, ipc, lr, packed.draw, pack=packed.pack, soft=packed.soft)


@dataclass(frozen=True, eq=False)
class Release:
    """All that one site sends for one scheme and seed.

    Args:
        site, scheme, seed: whose, made how, in which repeat; ``partition``: in which redraw of who holds what.
        real: whether these are real patients' images.
        sets: by budget in images per class, None for schemes without one.
        provenance: settings, method version, network; what it takes to repeat it.
        privacy: the statement of what protects the patients, in words.
    """

    site: str
    scheme: str
    seed: int
    real: bool
    sets: Mapping[int | None, Packed]
    partition: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    privacy: str = ""

    @property
    def method(self) -> str:
        """The method that made the images.

        Raises:
            SettingError: the scheme's name says none.
        """
        return method_of(self.scheme)

    def only(self, ipc: int | None, *, draw: int | None = None) -> "Release":
        """Return this Release reduced to one budget and one draw, as if nothing else had been shared."""
        packed = self.sets[ipc]
        if draw is not None and packed.draw is not None:
            at = packed.draw == draw
            soft = None if packed.soft is None else packed.soft[repeated(at, packed.pack)]
            packed = replace(packed, images=packed.images[at], labels=packed.labels[at], draw=None, soft=soft)
        return replace(self, sets={ipc: packed})

    def to_bytes(self) -> bytes:
        """Return the bytes of the Release file."""
        from safetensors.torch import save

        # Clones, because two budgets may share a tensor, which safetensors refuses to write.
        tensors = {
            f"{_prefix(ipc)}.{name}": tensor.clone()
            for ipc, packed in self.sets.items()
            for name, tensor in packed.tensors().items()
        }
        described = {
            "format": FORMAT,
            "site": self.site,
            "scheme": self.scheme,
            "seed": self.seed,
            "partition": self.partition,
            "real": self.real,
            "provenance": dict(self.provenance),
            "privacy": self.privacy,
        }
        packs = {_prefix(ipc): packed.pack for ipc, packed in self.sets.items() if packed.pack > 1}
        if packs:
            described["pack"] = packs
        return save(tensors, metadata={"fedistill": json.dumps(described, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Release":
        """Read a Release file, trusting nothing in it but its form.

        Raises:
            ReleaseError: it is no Release file, or of another format.
        """
        from safetensors.torch import load

        try:
            described = read_header(data)
            if described["format"] != FORMAT:
                raise ReleaseError("This Release has another format.", expected=FORMAT, found=described["format"])
            grouped: dict[int | None, dict[str, Tensor]] = {}
            for name, value in load(data).items():
                ipc, part = tensor_named(name)
                grouped.setdefault(ipc, {})[part] = value
            packs = described["pack"]
            if not set(packs) <= {_prefix(ipc) for ipc in grouped}:
                raise ReleaseError("This Release says of images it does not have how they are packed.")
            order = sorted(grouped, key=lambda ipc: -1 if ipc is None else ipc)
            return cls(
                site=described["site"],
                scheme=described["scheme"],
                seed=described["seed"],
                partition=described["partition"],
                real=described["real"],
                sets={ipc: Packed(**grouped[ipc], pack=packs.get(_prefix(ipc), 1)) for ipc in order},
                provenance=described["provenance"],
                privacy=described["privacy"],
            )
        except ReleaseError:
            raise
        # The parsers stumble over a hostile header with errors of many kinds; the answer is the same.
        except Exception as error:
            raise ReleaseError(
                "This is no Release.", expected="a Release file, format 1", found=f"{type(error).__name__}: {error}"
            ) from error


def sha256(data: bytes) -> str:
    """Return the SHA-256, in hex, by which ledgers and pools know a Release."""
    return hashlib.sha256(data).hexdigest()


def _prefix(ipc: int | None) -> str:
    return "all" if ipc is None else f"ipc{ipc}"
