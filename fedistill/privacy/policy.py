"""What a site lets out, checked by the site itself on its own Release, whatever the server asked for."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from fedistill.distill.release import Release
from fedistill.errors import PolicyError


class Policy(BaseModel):
    """A site's rules.

    Args:
        allow_real_images: whether schemes that send patients' own images (full, random, herding) may run. Refused
            unless a federation file allows it, as those of simulations do for their baselines.
        allow_weights: whether schemes that send networks trained on patients' images (fedavg, ensemble) may run.
            Refused unless allowed, for a network tells of what it was trained on.
        start: where synthetic images may start from: ``noise`` alone, or ``real`` ones too, which few steps leave
            recognisable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allow_real_images: bool = False
    allow_weights: bool = False
    start: Literal["noise", "real"] = "noise"


def check_request(policy: Policy, *, scheme: str, real: bool, start: str | None = None) -> None:
    """Refuse before any work what could not be sent afterwards.

    Args:
        real: whether the scheme sends real images; start: where its synthetic ones start, if it makes any.

    Raises:
        PolicyError: names the rule.
    """
    if real and not policy.allow_real_images:
        raise PolicyError(
            f"The site's policy forbids {scheme!r}: it would send real patients' images (rule allow_real_images)."
        )
    if start == "real" and policy.start == "noise":
        raise PolicyError(
            f"The site's policy forbids {scheme!r} to start from real patients' images (rule start): "
            f'with start = "noise" in its settings it may run.'
        )


def check_weights(policy: Policy, *, scheme: str) -> None:
    """Refuse to train what could not be sent.

    Raises:
        PolicyError: names the rule.
    """
    if not policy.allow_weights:
        raise PolicyError(
            f"The site's policy forbids {scheme!r}: it would send a network trained on patients' images "
            "(rule allow_weights)."
        )


def check_release(policy: Policy, release: Release) -> None:
    """The last look before anything is sent.

    Raises:
        PolicyError: names the rule.
    """
    check_request(policy, scheme=release.scheme, real=release.real)
