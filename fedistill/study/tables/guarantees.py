"""guarantees.csv: the guarantee of each private scheme to a site's patients, a row for each condition.

Noise and budget follow from the settings. The source of the noise is stated by the site, in its Releases and events.
"""

import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme import scheme_named

COLUMNS = (
    *("simulation", "scheme", "ipc", "rounds", "epsilon", "delta", "accountant"),
    *("clip", "sigma", "sums", "rate", "statement"),
)


def guarantees_table(simulation: Simulation) -> pd.DataFrame:
    """Return guarantees.csv, a row for each condition with a guarantee."""
    rows = []
    for scheme in simulation.scheme:
        for ipc in simulation.budgets(scheme):
            for rounds in simulation.rounds(scheme):
                guarantee = scheme_named(scheme).guarantee(simulation, ipc, rounds)
                if guarantee is not None:
                    noise = guarantee.mechanism
                    values = (guarantee.epsilon, guarantee.delta, guarantee.accountant, guarantee.clip)
                    about = (simulation.name, scheme, ipc, rounds, *values, noise.sigma, noise.steps, noise.rate)
                    rows.append(dict(zip(COLUMNS, (*about, guarantee.words), strict=True)))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("ipc", "rounds", "sums"):
        frame[column] = frame[column].astype("Int64")
    return frame
