"""Settings of MTT and its experts, named as in their paper (Cazenavette et al., CVPR 2022, arXiv 2203.11932).

Those of DATM (arXiv 2310.05773) and HoP-TM (arXiv 2509.24177) are named as in their authors' code.
"""

from dataclasses import dataclass
from typing import Annotated

from fedistill.core.ranges import QUIET, Count, NonNegativeFloat, NonNegativeInt, PositiveFloat, Range
from fedistill.errors import SettingError
from fedistill.methods.engine.loop import SteadySettings
from fedistill.methods.engine.start import PackSettings, StartFrom

# How many times HoP-TM's threshold grows: as published every 500th of 10,000 iterations, the first 500 aside.
GROWTHS = 20


@dataclass(frozen=True)
class MTTSettings(PackSettings, SteadySettings):
    """Settings of MTT, named as in its paper; beside them those of `SteadySettings` and `PackSettings`.

    Args:
        iterations: steps on the images.
        experts: networks trained on the real images.
        epochs: length of an expert's training; of it, only max_start_epoch + expert_epochs epochs are needed.
        expert_epochs: epochs of an expert that one segment covers.
        max_start_epoch: segments start before this epoch.
        min_start_epoch: and not before this one. Early epochs hold easy patterns, late ones hard ones; a larger budget
            learns from later ones (DATM: Guo et al., *Towards Lossless Dataset Distillation via Difficulty-Aligned
            Trajectory Matching*, ICLR 2024, arXiv 2310.05773).
        current_max_start_epoch: where the upper bound begins, to rise evenly to max_start_epoch (DATM's sequential
            matching); None: it is max_start_epoch from the first.
        expansion_end_epoch: the iteration (DATM's code calls it so) from which on it is max_start_epoch; None: the
            last.
        syn_steps: steps of training on the synthetic images in a segment.
        batch_syn: synthetic images in such a step; None takes all of them.
        lr_img, momentum_img: of the SGD on the images.
        lr_lr: of the SGD on the step size, as published; the step size's logarithm takes lr_lr / lr_teacher^2.
        lr_teacher: of the experts' SGD; the learned step size starts there.
        start: one of `fedistill.methods.engine.start.STARTS`; ``real``, as published, gives patients' images away.
        batch_expert: real images in an expert's step; None fits it to the site's size (`experts.epoch_shape`).
        epoch_images: images that an expert's epoch passes over, at most; None: all, as published. The next epoch goes
            on with the others.
        augment: whether experts and segments are trained with DSA augmentation.
        lamb: weight of how far the angles of a segment's start, middle and end are from the expert's, beside the
            distance (HoP-TM: Dong et al., MICCAI 2025, arXiv 2509.24177; published 0.5 on PathMNIST, 1 on chest
            X-rays); 0: none. It needs two syn_steps and two expert_epochs at least.
        base_threshold: only weights that came as near to the expert's as this, squared, once in a segment's end are
            matched from then on (HoP-TM's easy to complex; published 5e-9 at ipc 1 to 10, 5e-8 above); None: all
            are. While none came as near, the distance moves no image.
        growing_factor: by which the threshold grows with each twentieth of the iterations (published 1.5).
    """

    iterations: Count = 5000
    experts: Count = 100
    epochs: Count = 50
    expert_epochs: Count = 3
    max_start_epoch: Count = 20
    min_start_epoch: NonNegativeInt = 0
    current_max_start_epoch: Count | None = None
    syn_steps: Count = 20
    batch_syn: Count | None = None
    lr_img: PositiveFloat = 1000.0
    lr_lr: NonNegativeFloat = 1e-5
    lr_teacher: PositiveFloat = 0.01
    start: StartFrom = "real"
    momentum_img: NonNegativeFloat = 0.5
    batch_expert: Count | None = None
    augment: bool = True
    epoch_images: Annotated[Count | None, QUIET] = None
    expansion_end_epoch: Annotated[Count | None, QUIET] = None
    lamb: Annotated[NonNegativeFloat, QUIET] = 0.0
    base_threshold: Annotated[PositiveFloat | None, QUIET] = None
    growing_factor: Annotated[float, Range(ge=1), QUIET] = 1.5

    def __post_init__(self) -> None:
        needed = self.max_start_epoch + self.expert_epochs
        if self.epochs < needed:
            raise SettingError(
                "mtt: segments would run past the end of the experts' training.",
                expected=f"epochs, at least max_start_epoch + expert_epochs = {needed}",
                found=self.epochs,
                mend=f"set epochs = {needed} or lower max_start_epoch (no more epochs than these are trained)",
            )
        first = self.max_start_epoch if self.current_max_start_epoch is None else self.current_max_start_epoch
        if not self.min_start_epoch < first <= self.max_start_epoch:
            raise SettingError(
                "mtt: there is no epoch for a segment to start at.",
                expected="min_start_epoch < current_max_start_epoch <= max_start_epoch",
                found=f"{self.min_start_epoch}, {first}, {self.max_start_epoch}",
                mend="set all three: a preset may have set the ones that you did not",
            )
        if self.expansion_end_epoch is not None and self.current_max_start_epoch is None:
            raise SettingError(
                "mtt: the upper bound of the start does not rise, so it has no end to rise to.",
                expected="current_max_start_epoch, beside expansion_end_epoch",
                mend="set current_max_start_epoch, or leave expansion_end_epoch out",
            )
        if self.lamb and min(self.syn_steps, self.expert_epochs) < 2:
            raise SettingError(
                "mtt: a segment of one step, or one epoch, has no middle, and so no angles.",
                expected="with lamb, at least 2 syn_steps and 2 expert_epochs",
                found=f"{self.syn_steps} and {self.expert_epochs}",
                mend="make the segment longer, or set lamb = 0",
            )

    def start_epochs(self, done: float) -> range:
        """Return the epochs a segment may start at, once so many iterations are done.

        >>> settings = MTTSettings(iterations=8, min_start_epoch=2, current_max_start_epoch=4, max_start_epoch=8)
        >>> settings.start_epochs(4)
        range(2, 6)
        """
        first = self.max_start_epoch if self.current_max_start_epoch is None else self.current_max_start_epoch
        risen = min(1.0, done / (self.expansion_end_epoch or self.iterations))
        return range(self.min_start_epoch, first + round(risen * (self.max_start_epoch - first)))

    def threshold(self, done: float) -> float | None:
        """Return the squared distance within which a weight is near, once so many iterations are done.

        >>> MTTSettings(iterations=100, base_threshold=1.0, growing_factor=2.0).threshold(10)
        4.0
        """
        if self.base_threshold is None:
            return None
        return self.base_threshold * self.growing_factor ** (int(done) * GROWTHS // self.iterations)
