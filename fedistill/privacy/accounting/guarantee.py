"""The guarantee of one condition of a private scheme to a site's patients, in numbers and in words."""

from dataclasses import dataclass

from fedistill.core.accounting import Mechanism

OF_NETWORKS = (
    "Holds for one network, with everything made of it; other networks and Releases of the same images add up. Not "
    "covered: how many images (or patients) the site holds, and figures it returns about images that are not trained "
    "on. No validation image was looked at: nothing was stopped or chosen by any."
)
OF_IMAGES = (
    "Holds for one Release, with everything made of it; other Releases of the same images add up. Not covered: how "
    "many images (or patients) the site holds, and figures it returns about images that are not distilled, such as the "
    "validation counts by which the step size of networks trained on the pool is chosen."
)
SIMULATED = (
    "A simulation's noise follows from its seed and protects nobody; a site's own noise (entropy = system) is kept "
    "nowhere."
)


@dataclass(frozen=True)
class PrivacyGuarantee:
    """The guarantee of one condition: to every image, or every patient where images say whose they are.

    Args:
        epsilon, delta: of the condition; after fewer rounds than the budget is for, what these rounds spent.
        accountant: ``pld`` or ``rdp``.
        clip: L2 norm that a unit's contribution is clipped to; mechanism: the Gaussian noise in multiples of it.
        scope: what it covers and what it does not, in words.
    """

    epsilon: float
    delta: float
    accountant: str
    clip: float
    mechanism: Mechanism
    scope: str

    @property
    def words(self) -> str:
        """The guarantee as a paragraph."""
        noise, n = self.mechanism, self.mechanism.steps
        sums = "1 noisy sum" if n == 1 else f"{n} noisy sums"
        over = "all" if noise.rate == 1 else f"a Poisson sample (rate {noise.rate:g})"
        return (
            f"Differentially private: epsilon {self.epsilon:.4g} at delta {self.delta:g} for every single image, or "
            f"every patient where images say whose they are, added or removed, by the {self.accountant} accountant: "
            f"{sums} over {over}, each unit clipped to norm {self.clip:g}, Gaussian noise of {noise.sigma:.4g} x that. "
            f"{self.scope} {SIMULATED}"
        )
