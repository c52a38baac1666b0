"""guarantees.csv: what each private scheme of a simulation guarantees a site's patients, a row a condition.

It follows from the settings alone: what the noise is, and what it spends. Where the noise came from, a site says
itself, in its Releases and its own events.
"""

import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme import scheme_named

COLUMNS = (
    *("simulation", "scheme", "ipc", "rounds", "epsilon", "delta", "accountant"),
    *("clip", "sigma", "sums", "rate", "statement"),
)


def guarantees_table(simulation: Simulation) -> pd.DataFrame:
    """Return a row for each condition that guarantees anything."""
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
