"""What a site lets out, checked by the site itself on its own Release, whatever the server asked for."""

from pydantic import BaseModel, ConfigDict

from fedistill.distill.release import Release
from fedistill.errors import PolicyError


class Policy(BaseModel):
    """A site's rules.

    Args:
        allow_real_images: whether schemes that send patients' own images (full, random, herding) may run. Refused
            unless a federation file allows it, as those of simulations do for their baselines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allow_real_images: bool = False


def check_request(policy: Policy, *, scheme: str, real: bool) -> None:
    """Refuse before any work what could not be sent afterwards.

    Raises:
        PolicyError: names the rule.
    """
    if real and not policy.allow_real_images:
        raise PolicyError(
            f"The site's policy forbids {scheme!r}: it would send real patients' images (rule allow_real_images)."
        )


def check_release(policy: Policy, release: Release) -> None:
    """The last look before anything is sent.

    Raises:
        PolicyError: names the rule.
    """
    check_request(policy, scheme=release.scheme, real=release.real)
