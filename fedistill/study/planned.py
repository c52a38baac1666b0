"""plan.json: what a run is going to do, so that anybody can tell how far it is."""

from collections.abc import Iterator, Sequence
from typing import Any

from fedistill.config import Job, Plan, Simulation, job
from fedistill.config.scheme_settings import EVERYONE, scheme_named
from fedistill.study.orchestrator import Study


def planned(plan: Plan, studies: Sequence[Study]) -> dict[str, Any]:
    """Of every point: its label, the jobs that make Releases or an audit's shadows, and the arms of the comparison; by
    names as in events.

    Points of a sweep that have a job in common do it once, under the label of any of them.
    """
    points = []
    for point, study in zip(plan.points, studies, strict=True):
        simulation = study.simulation
        jobs = {each.name: scheme for each, scheme in jobs_of(simulation)}
        jobs |= study.audit.jobs()
        arms = {arm.name: arm.scheme for arm in study.arms()}
        points.append({"point": point.label if plan.sweep else "", "jobs": jobs, "arms": arms})
    return {"name": plan.name, "points": points}


def jobs_of(simulation: Simulation) -> Iterator[tuple[Job, str]]:
    """The jobs that make Releases, as sites are asked, and their schemes.

    A job at all sites' data together is named here; how many images it makes, only those data tell.
    """
    for scheme in simulation.scheme:
        known = scheme_named(scheme)
        if known.method is None:
            continue
        sites = (EVERYONE,) if known.kind == "central" else simulation.federation.sites
        for partition in range(simulation.partitions):
            for seed in simulation.repeats(scheme):
                for site in sites:
                    yield job(simulation, site, scheme, seed, partition), scheme
