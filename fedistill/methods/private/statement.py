"""A Release's statement of its guarantee: to whom it is given, how large, by what noise, and what it does not cover."""

from collections.abc import Sequence

from fedistill.core.accounting import epsilon_of
from fedistill.methods.private.queries import PrivateSettings

SIMULATED = (
    "SIMULATED: the noise follows from the seed, and whoever knows the seed can take it off again. This shows what the "
    "images would be worth under the guarantee; it protects nobody."
)

UNSEEDED = "Noise, samples and starts came from the operating system's entropy and were kept nowhere."

COVERED = (
    "Covered is everything made from these sums, for any budget. Not covered: how many images the site holds, figures "
    "it returns about other images (validation, scores), and other Releases of the same images, whose epsilons add up. "
    "The classes there are were taken as public; which of them the site holds was not: each sum counted every class's "
    "images with noise, and classes whose noisy count cannot be told from none were left out. No validation image was "
    "looked at: nothing was stopped or chosen by any."
)


def statement(budgets: Sequence[PrivateSettings], *, groups: bool, entropy: str) -> str:
    """Write the statement.

    Args:
        budgets: the settings of each budget; those that ask the same questions share the answers, and spend once.
        groups: whether the images say which patient they are of.
        entropy: of the task.
    """
    queries = {tuple(each.asked().items()): each for each in budgets}.values()
    mechanisms = [each.mechanism() for each in queries]
    delta = max(each.delta for each in queries)
    accountant = "rdp" if any(each.accountant == "rdp" for each in queries) else "pld"
    unit = "group of images that belong together (a patient's)" if groups else "image"
    spent = epsilon_of(mechanisms, delta=delta, accountant=accountant)
    words = [
        f"Differentially private: epsilon {spent:.4g} at delta {delta:g} for every single {unit}, added or removed, "
        f"counted by the {accountant} accountant.",
    ]
    for each, mechanism in zip(queries, mechanisms, strict=True):
        sums = "1 noisy sum" if mechanism.steps == 1 else f"{mechanism.steps} noisy sums"
        sampled = f"a Poisson sample (sampling rate {mechanism.rate:g})"
        over = "all of them (sampling rate 1)" if mechanism.rate == 1 else sampled
        words.append(
            f"{sums}, each over {over}; one {unit} clipped to norm {each.clip:g}; Gaussian noise of standard deviation "
            f"{mechanism.sigma:.4g} x that norm (epsilon {each.epsilon:g} at delta {each.delta:g})."
        )
    return " ".join([*words, COVERED, UNSEEDED if entropy == "system" else SIMULATED])
