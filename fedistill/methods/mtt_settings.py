"""Settings of MTT and its experts, named as in their paper (Cazenavette et al., CVPR 2022, arXiv 2203.11932)."""

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from fedistill.core.settings import Count
from fedistill.errors import SettingError
from fedistill.methods.engine.loop import SteadySettings
from fedistill.methods.engine.start import PackSettings, StartFrom


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
        current_max_start_epoch: where the upper bound begins, to rise evenly to max_start_epoch over the iterations
            (DATM's sequential matching); None: it is max_start_epoch from the first.
        syn_steps: steps of training on the synthetic images in a segment.
        batch_syn: synthetic images in such a step; None takes all of them.
        lr_img, momentum_img: of the SGD on the images.
        lr_lr: of the SGD on the step size, as published; the step size's logarithm takes lr_lr / lr_teacher^2.
        lr_teacher: of the experts' SGD; the learned step size starts there.
        start: one of `fedistill.methods.engine.start.STARTS`; ``real``, as published, gives patients' images away.
        batch_expert: real images in an expert's step; None fits it to the site's size (`experts.epoch_shape`).
        augment: whether experts and segments are trained with DSA augmentation.
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

    def start_epochs(self, done: float) -> range:
        """Return the epochs a segment may start at, once this share (0..1) of the iterations is done.

        >>> MTTSettings(min_start_epoch=2, current_max_start_epoch=4, max_start_epoch=8).start_epochs(0.5)
        range(2, 6)
        """
        first = self.max_start_epoch if self.current_max_start_epoch is None else self.current_max_start_epoch
        return range(self.min_start_epoch, first + round(done * (self.max_start_epoch - first)))
