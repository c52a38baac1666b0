"""Rules of a deployed site that no policy can switch off, because the requester also chooses the request.

Scores: a network can be built to isolate one image and reveal one bit of one of its pixels; a few thousand of them read
out the image, and rounded counts hardly slow them. Networks: a server that chooses the weights that a round starts
from, its batch and its step size reads images out of the reply; only the site's own noise, under its own budget, bounds
that. Redraws of the partition or of the held-out images would move training images to where they can be queried: a
hospital has one share.
"""

from fedistill.config import Job
from fedistill.errors import PolicyError
from fedistill.methods.registry import is_private
from fedistill.transport.site.context import SiteContext


def refuse_scores(site: SiteContext) -> None:
    """Refuse scores at a deployed site, before the request is read.

    Raises:
        PolicyError: the site is deployed.
    """
    if site.deployed:
        raise PolicyError(
            "The site returns no scores (rule scores): specially built networks read images out of them.",
            mend='choose recipes on the pool of Releases, recipe.chosen_on = "pool"',
        )


def require_bounded(site: SiteContext, *, partition: int, private: bool) -> None:
    """Refuse, at a deployed site, networks without a privacy budget, or of a redrawn partition.

    Raises:
        PolicyError: names the rule.
    """
    if not site.deployed:
        return
    if not private:
        raise PolicyError(
            "The site sends no network without a privacy budget (rule allow_weights): the server chooses its initial "
            "weights, and can read images out of the reply.",
            mend="use a private scheme, at sites whose policy has allow_weights = true and an epsilon_max",
        )
    _require_share(site, partition, private=True)


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
