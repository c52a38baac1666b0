"""Settings and guarantee of the schemes whose sites train networks by DP-SGD (Abadi et al., arXiv 1607.00133).

They are what `fedistill.schemes.local` and `fedistill.schemes.dp_fedavg` have in common.
"""

from typing import Annotated, Literal

from pydantic import Field

from fedistill.core.accounting import Mechanism
from fedistill.core.settings import Frozen
from fedistill.privacy.accounting.guarantee import OF_NETWORKS, PrivacyGuarantee
from fedistill.training.dpsgd import DPSGD


class PrivateTraining(Frozen):
    """Settings of every scheme whose sites train under differential privacy.

    None of them is chosen on validation images: these are patients' too, and the bound does not cover them.

    Args:
        epsilon, delta: privacy budget of a site's network over all steps and rounds. Keep delta well below one over the
            number of a site's images.
        clip: norm to which the gradient of one image is clipped, or of one patient's images if patients are known.
        rate: probability that an image (or a patient) is in a step's sample.
        lr, momentum: of the SGD; the step size is constant.
        accountant: ``pld`` (tight) or ``rdp``.
    """

    epsilon: Annotated[float, Field(gt=0, le=1000)] = 10.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip: Annotated[float, Field(gt=0)] = 1.0
    rate: Annotated[float, Field(gt=0, le=1)] = 0.25
    lr: Annotated[float, Field(gt=0)] = 0.5  # see `fedistill.schemes.local`
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    accountant: Literal["pld", "rdp"] = "pld"

    def of_steps(self, steps: int) -> DPSGD:
        """Return the settings of DP-SGD that spend the budget over this number of steps."""
        return DPSGD(
            self.epsilon, self.delta, self.clip, self.rate, steps, self.lr, self.momentum, accountant=self.accountant
        )


def guarantee_of(training: DPSGD, steps: int) -> PrivacyGuarantee:
    """Return the guarantee of a network after this number of its budget's steps."""
    noise = Mechanism(training.mechanism().sigma, steps, training.rate)
    spent = training.epsilon if steps == training.steps else float(f"{training.spent(steps):.4g}")
    return PrivacyGuarantee(spent, training.delta, training.accountant, training.clip, noise, OF_NETWORKS)
