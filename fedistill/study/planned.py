"""plan.json: what a run is going to do, so that anybody can tell how far it is."""

from collections.abc import Sequence
from typing import Any

from fedistill.plan import Plan, job
from fedistill.plan.schemes import EVERYONE, scheme_named
from fedistill.study.conduct import Study


def planned(plan: Plan, studies: Sequence[Study]) -> dict[str, Any]:
    """Of every point: its label, the jobs that make Releases or an audit's shadows, and the arms of the comparison; by
    names as in events.

    Points of a sweep that have a job in common do it once, under the label of any of them.
    """
    points = []
    for point, study in zip(plan.points, studies, strict=True):
        simulation = study.simulation
        jobs: dict[str, str] = {}
        for scheme in simulation.scheme:
            known = scheme_named(scheme)
            if known.method is None:
                continue
            sites = (EVERYONE,) if known.kind == "central" else simulation.federation.sites
            for partition in range(simulation.partitions):
                for seed in simulation.repeats(scheme):
                    for site in sites:
                        jobs[job(simulation, site, scheme, seed, partition).name] = scheme
        jobs |= study.audit.jobs()
        arms = {arm.name: arm.scheme for arm in study.arms()}
        points.append({"point": point.label if plan.sweep else "", "jobs": jobs, "arms": arms})
    return {"name": plan.name, "points": points}
