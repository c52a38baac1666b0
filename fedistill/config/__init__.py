"""TOML -> frozen Simulation -> jobs; and who holds which images."""

from fedistill.config.audit import Audit
from fedistill.config.audit_plan import audited_plan
from fedistill.config.federation import Federation, Site
from fedistill.config.holdings import Holdings, Share, everything, holdings, holdings_here, test_sets, val_set
from fedistill.config.jobs import Job, job
from fedistill.config.load import load_federation, load_plan, load_simulation
from fedistill.config.recipes import CommonRecipe
from fedistill.config.simulation import Simulation
from fedistill.config.sweep import Plan, Point

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
    "test_sets",
    "val_set",
]
