"""``fedadam``: federated averaging whose server takes Adam steps (Reddi et al., ICLR 2021, arXiv 2003.00295).

The mean of the sites' networks minus the global network serves as a pseudo-gradient. The strategy's state, its moments,
is saved after every round, so a resumed run gives the same result as an uninterrupted one.
"""

from typing import Annotated, Any

from pydantic import Field

from fedistill.schemes.rounds import FedAvgSettings, RoundsScheme
from fedistill.transport.server.rounds import ServerStrategy


class FedAdamSettings(FedAvgSettings):
    """Settings of federated averaging with a server that takes Adam steps.

    Args:
        eta: the server's step size.
        beta_1, beta_2: decay rates of the first and second moment.
        tau: added to the root of the second moment; the larger, the closer to averaging with server momentum.
    """

    eta: Annotated[float, Field(gt=0)] = 0.01
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0)] = 0.001


class FedAdamScheme(RoundsScheme):
    """Federated averaging with Flower's FedAdam."""

    def strategy(self, settings: Any) -> ServerStrategy:
        """Return Flower's FedAdam."""
        options = {name: getattr(settings, name) for name in ("eta", "beta_1", "beta_2", "tau")}
        return ServerStrategy("FedAdam", options, state=("m_t", "v_t"))


FEDADAM = FedAdamScheme("fedadam", "fedavg whose server takes Adam steps (arXiv 2003.00295)", FedAdamSettings)
