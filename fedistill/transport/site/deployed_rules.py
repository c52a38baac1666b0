"""Rules of a deployed site that no policy can switch off, whatever the study is that it agreed to.

Redraws of the partition or of the held-out images would move training images to where they can be asked about: a
hospital has one share. A private scheme without the site's own budget could spend any epsilon. What a server can do
with weights of its own making is said where `train_locally` is called, and before a hospital agrees.
"""

from fedistill.config import Job
from fedistill.errors import PolicyError
from fedistill.methods.registry import is_private
from fedistill.transport.site.context import SiteContext


def require_bounded(site: SiteContext, *, partition: int, private: bool) -> None:
    """Refuse, at a deployed site, networks of a redrawn partition, or under a bound without a privacy budget.

    Raises:
        PolicyError: names the rule.
    """
    if site.deployed:
        _require_share(site, partition, private=private)


def require_own(site: SiteContext, job: Job) -> None:
    """Refuse, at a deployed site, a job for another site, a redrawn partition, or a bound without a budget.

    Raises:
        PolicyError: names the rule.
    """
    if not site.deployed:
        return
    if job.site != site.name:
        raise PolicyError("The site answers only in its own name (rule name).", expected=site.name)
    _require_share(site, job.partition, private=is_private(job.method))


def _require_share(site: SiteContext, partition: int, *, private: bool) -> None:
    if partition:
        raise PolicyError(
            "The site has one share of images, and no redraws (rule partition).",
            expected="partition 0",
            found=partition,
        )
    if private and site.policy.limit is None:
        raise PolicyError(
            "The site has no privacy budget, so a private scheme could spend any epsilon (rule epsilon_max).",
            mend="write an epsilon_max into the policy of the site's file",
        )
