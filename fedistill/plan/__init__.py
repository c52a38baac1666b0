"""TOML -> frozen Simulation -> jobs; and who holds which images."""

from fedistill.plan.audit import Audit
from fedistill.plan.audited import audited_plan
from fedistill.plan.federation import Federation, Site
from fedistill.plan.holdings import Holdings, Share, everything, holdings, holdings_here, test_set, test_sets, val_set
from fedistill.plan.jobs import Job, job
from fedistill.plan.load import load_federation, load_plan, load_simulation
from fedistill.plan.simulation import CommonRecipe, Simulation
from fedistill.plan.sweep import Plan, Point

__all__ = [
    "Audit",
    "CommonRecipe",
    "Federation",
    "Holdings",
    "Job",
    "Plan",
    "Point",
    "Share",
    "Simulation",
    "Site",
    "audited_plan",
    "everything",
    "holdings",
    "holdings_here",
    "job",
    "load_federation",
    "load_plan",
    "load_simulation",
    "test_set",
    "test_sets",
    "val_set",
]
