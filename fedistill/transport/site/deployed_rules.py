"""What a deployed site refuses whatever its policy's numbers are, because who asks also chooses the question.

Scores: a network may be built to isolate one image and tell one bit of one of its pixels; a few thousand of them read
it out, and rounded counts hardly slow them. Networks: a server that chooses the weights that a round starts from, its
batch and its step size reads images out of what comes back; only noise that the site itself adds, under a budget of its
own, bounds that. A redraw of who holds what, or of what is held out, moves training images to where they can be asked
about: a hospital has one share.
"""

from fedistill.config import Job
from fedistill.errors import PolicyError
from fedistill.methods.registry import is_private
from fedistill.transport.site.context import SiteContext


def refuse_scores(site: SiteContext) -> None:
    """Refuse scores at a deployed site, before anything of the question is looked at.

    Raises:
        PolicyError: names the rule.
    """
    if site.deployed:
        raise PolicyError(
            "The site answers no scores (rule scores): networks made for the purpose read images out of them.",
            mend='choose recipes on the pool of Releases, recipe.chosen_on = "pool"',
        )


def require_bounded(site: SiteContext, *, partition: int, private: bool) -> None:
    """Refuse, at a deployed site, to send networks that no privacy budget bounds, or of another share.

    Raises:
        PolicyError: names the rule.
    """
    if not site.deployed:
        return
    if not private:
        raise PolicyError(
            "The site sends no network without a privacy budget (rule allow_weights): who asks chooses the weights it "
            "starts from, and reads images out of what comes back.",
            mend="take a private scheme, at sites whose policy has allow_weights = true and an epsilon_max",
        )
    _require_share(site, partition, private=True)


def require_own(site: SiteContext, job: Job) -> None:
    """Refuse, at a deployed site, a job for another site, another share, or a bound that nothing adds up to.

    Raises:
        PolicyError: names the rule.
    """
    if not site.deployed:
        return
    if job.site != site.name:
        raise PolicyError("The site answers in its own name alone (rule name).", expected=site.name)
    _require_share(site, job.partition, private=is_private(job.scheme))


def _require_share(site: SiteContext, partition: int, *, private: bool) -> None:
    if partition:
        raise PolicyError(
            "The site has one share of images, and redraws nothing (rule partition).",
            expected="partition 0",
            found=partition,
        )
    if private and site.policy.limit is None:
        raise PolicyError(
            "The site has no privacy budget that a private scheme could keep to (rule epsilon_max): any epsilon would "
            "do.",
            mend="write an epsilon_max into the policy of the site's file",
        )
