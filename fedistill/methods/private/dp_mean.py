"""dp-mean: class means in a fixed, public space, asked once, and images fitted to them freely.

What `dp-dm` asks of random networks has hundreds of coordinates, of which noise of epsilon 1 leaves little at a
hospital's size. Here one question is asked: the mean of each class in a space of a few dozen coordinates that public
images span (`fedistill.methods.private.public_space`). Means in a fixed space, released once, are DP-MERF's idea
(Harder et al., AISTATS 2021, arXiv 2002.11603); the low-dimensional public subspace is that of Zhou, Wu & Banerjee
(*Bypassing the Ambient Dimension*, ICLR 2021, arXiv 2007.03813). How much noise there is in the answer is known, so the
noisy means are first drawn towards the public mean by as much (James & Stein, 1961). Then images are fitted to them, as
near as the true means are likely to be and no nearer, by as many steps as one likes (as Dosser, ICCV 2025).

The parts of the space and how far they are whitened were compared on three sets by calling validation images after the
nearest noisy mean: the table is in fedistill/privacy/README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import Count, Fraction, PositiveFloat, Range
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.engine.start import PackSettings
from fedistill.methods.private.dp_dm import fitted, side
from fedistill.methods.private.noise import counted
from fedistill.methods.private.public_space import public_space
from fedistill.methods.private.queries import PrivateSettings, ask, begin
from fedistill.models import build
from fedistill.training.packing import require_pack

NAME = "dp-mean"

SPACE = ("coarse", "axes", "share", "whiten")
"""Settings that the answers depend on, beside those of every private method."""


@dataclass(frozen=True)
class DPMeanSettings(PackSettings, PrivateSettings):
    """Settings of dp-mean; beside them those of `PrivateSettings` and `PackSettings`.

    Args:
        clip: how much one patient can tell, in images: with groups, a patient of more images counts as this many.
        coarse: side in pixels to which images are reduced for one part of the space.
        axes: public principal axes of each part: the number of coordinates that are asked for.
        share: of an image's squared norm that the reduced pixels have; the random embedding has the rest.
        whiten: how far axes are brought to the same spread, from 0, not at all, to 1, entirely.
        iterations: steps of the fit.
        grain: pixels in each direction between the points that are fitted, in images as networks are shown them; what
            lies between is interpolated.
        lr_img: of the Adam on the images, in units of their pixels, which lie in -1..1.
    """

    clip: Annotated[float, Range(ge=1)] = 1.0
    queries: Count = 1
    coarse: Annotated[int, Range(ge=2)] = 7
    axes: Count = 32
    share: Fraction = 0.5
    whiten: Fraction = 0.5
    iterations: Count = 150
    grain: Count = 2
    lr_img: PositiveFloat = 0.05

    def asked(self) -> dict[str, Any]:
        """Return those settings that the noisy answers depend on."""
        return super().asked() | {name: getattr(self, name) for name in SPACE}


def dp_mean(task: Task, settings: DPMeanSettings) -> SyntheticSet:
    """Distil images whose class means in a public space are the real ones', as far as the noise tells.

    Raises:
        SettingError: a multi-label set.
        RunError: the images do not stay finite numbers.
    """
    x = task.images
    require_pack(settings.pack, x.size)
    net = build(task.model, channels=x.channels, classes=x.n_classes, size=x.size, width=settings.width)
    # The spaces are public: they are made before anything is asked, and say nothing of the images.
    fresh = [net.init(seeds.generator(task.seed, NAME, "network", q)) for q in range(settings.queries)]
    spaces = [
        public_space(
            net,
            tuple(p.to(task.device) for p in params),
            channels=x.channels,
            size=x.size,
            coarse=settings.coarse,
            axes=settings.axes,
            share=settings.share,
            whiten=settings.whiten,
        )
        for params in fresh
    ]
    real = x.pixels()

    def rows(query: int) -> Callable[[Tensor], Tensor]:
        def told(at: Tensor) -> Tensor:
            with torch.no_grad():
                return counted(spaces[query](real[at].to(task.device)), 1.0)

        return told

    answers = ask(task, settings, NAME, rows, net=net, each=1.0)
    fitting, images, labels = begin(task, NAME, answers, side=side(x.size, settings.grain, settings.pack))
    classes = answers.classes()
    means, explained = shrunk_means(answers.sums[:, classes], answers.counts[classes], answers.noise)
    means = means.to(task.device)
    return fitted(
        fitting, NAME, settings, images, labels, spaces, means, explained, lr_img=settings.lr_img, pack=settings.pack
    )


def shrunk_means(sums: Tensor, counts: Tensor, noise: float) -> tuple[Tensor, float]:
    """Shrink class means out of noisy sums (Q, K, D) and counts (K,): (Q, K, D), and their expected squared error.

    A mean of which the noise alone explains the whole length becomes 0, the public mean: nothing was learned of it.

    >>> means, error = shrunk_means(torch.tensor([[[30.0, 40.0], [1.0, 0.0]]]), torch.tensor([100.0, 10.0]), 1.0)
    >>> [[round(value, 4) for value in mean] for mean in means[0].tolist()], round(error, 6)
    ([[0.2998, 0.3997], [0.0, 0.0]], 0.0001)
    """
    held = counts.clamp_min(1.0)
    means = sums / held[:, None]
    error = sums.shape[2] * (noise / held).square()
    certain = (1 - error / means.square().sum(2).clamp_min(1e-12)).clamp_min(0.0)
    return means * certain[:, :, None], float((error * certain).mean())
