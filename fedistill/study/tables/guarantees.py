"""guarantees.csv: what each private scheme of a simulation promises a site's patients, for every line of the table.

It follows from the settings alone: what the noise is, and what it spends. Where the noise came from, a site says
itself, in its Releases and its own events.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme_settings import DPFedAvgSettings, PrivateAloneSettings, scheme_named
from fedistill.core.accounting import Mechanism
from fedistill.methods.private.queries import PrivateSettings
from fedistill.methods.registry import settings_for

COLUMNS = (
    *("simulation", "scheme", "ipc", "rounds", "epsilon", "delta", "accountant"),
    *("clip", "sigma", "sums", "rate", "statement"),
)

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
class Guarantee:
    """What one line of the table promises: to every image, or every patient where images say whose they are.

    Args:
        epsilon: what was asked for; after fewer rounds than that is for, what these spent.
        clip: the norm of what one unit tells; mechanism: the noise in multiples of it.
        of: what for, in words.
    """

    epsilon: float
    delta: float
    accountant: str
    clip: float
    mechanism: Mechanism
    of: str

    @property
    def words(self) -> str:
        noise, n = self.mechanism, self.mechanism.steps
        sums = "1 noisy sum" if n == 1 else f"{n} noisy sums"
        over = "all" if noise.rate == 1 else f"a Poisson sample (rate {noise.rate:g})"
        return (
            f"Differentially private: epsilon {self.epsilon:.4g} at delta {self.delta:g} for every single image, or "
            f"every patient where images say whose they are, added or removed, by the {self.accountant} accountant: "
            f"{sums} over {over}, each unit clipped to norm {self.clip:g}, Gaussian noise of {noise.sigma:.4g} x that. "
            f"{self.of} {SIMULATED}"
        )


def guarantee(simulation: Simulation, scheme: str, ipc: int | None, rounds: int | None) -> Guarantee | None:
    """The promise of one line; None where its scheme makes none. Of several data sets, the weakest."""
    known = scheme_named(scheme)
    if known.method is not None:
        values = simulation.settings(scheme)
        chosen = [
            settings_for(known.method, values, ipc=ipc, dataset=name) for name in simulation.federation.datasets()
        ]
        private = [each for each in chosen if isinstance(each, PrivateSettings)]
        if not private:
            return None
        most = max(private, key=lambda each: (each.epsilon, each.delta))
        return Guarantee(most.epsilon, most.delta, most.accountant, most.clip, most.mechanism(), OF_IMAGES)
    settings: Any = known.read(simulation.settings(scheme))
    if not isinstance(settings, PrivateAloneSettings | DPFedAvgSettings):
        return None
    asked, steps = settings.private, settings.private.steps
    if isinstance(settings, DPFedAvgSettings) and rounds is not None:
        steps = rounds * settings.local_steps
    noise = Mechanism(asked.mechanism().sigma, steps, asked.rate)
    spent = asked.epsilon if steps == asked.steps else _rounded(asked.spent(steps))
    return Guarantee(spent, asked.delta, asked.accountant, asked.clip, noise, OF_NETWORKS)


def guarantees(simulation: Simulation) -> pd.DataFrame:
    """A row for each line of the table that promises anything."""
    rows = []
    for scheme in simulation.scheme:
        for ipc in simulation.budgets(scheme):
            for rounds in simulation.rounds(scheme):
                found = guarantee(simulation, scheme, ipc, rounds)
                if found is not None:
                    noise = found.mechanism
                    values = (found.epsilon, found.delta, found.accountant, found.clip)
                    about = (simulation.name, scheme, ipc, rounds, *values, noise.sigma, noise.steps, noise.rate)
                    rows.append(dict(zip(COLUMNS, (*about, found.words), strict=True)))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("ipc", "rounds", "sums"):
        frame[column] = frame[column].astype("Int64")
    return frame


def _rounded(epsilon: float) -> float:
    return float(f"{epsilon:.4g}")
