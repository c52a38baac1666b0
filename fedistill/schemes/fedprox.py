"""``fedprox``: federated averaging with a proximal term in the sites' loss (Li et al., arXiv 1812.06127)."""

from typing import Annotated, Any

from pydantic import Field

from fedistill.schemes.rounds import FedAvgSettings, RoundsScheme
from fedistill.transport.server.rounds import ServerStrategy


class FedProxSettings(FedAvgSettings):
    """Settings of federated averaging with a proximal term.

    Args:
        mu: weight of half the squared distance to the round's global weights in a site's loss.
    """

    mu: Annotated[float, Field(gt=0)] = 0.1


class FedProxScheme(RoundsScheme):
    """Federated averaging with a proximal term in the sites' loss."""

    def strategy(self, settings: Any) -> ServerStrategy:
        """Return Flower's FedProx, which sends the proximal weight with every round."""
        return ServerStrategy("FedProx", {"proximal_mu": self.mu(settings)}, named=False)

    def mu(self, settings: Any) -> float:
        """Return the weight of the proximal term."""
        return settings.mu


FEDPROX = FedProxScheme("fedprox", "fedavg with a proximal term (arXiv 1812.06127)", FedProxSettings)
