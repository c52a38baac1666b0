"""plan.json: what a run is going to do, so that anybody can tell how far it is."""

from typing import Any

from fedistill.config import Plan
from fedistill.study.audit.auditing import shadow_jobs
from fedistill.study.orchestrator import conditions, release_jobs


def planned(plan: Plan) -> dict[str, Any]:
    """Return of every point its label, the jobs that make Releases or an audit's shadows, and the conditions of the
    comparison; by names as in events.

    Points of a sweep that have a job in common do it once, under the label of any of them.
    """
    points = []
    for point in plan.points:
        jobs = {job.name: scheme for job, scheme in release_jobs(point.simulation)}
        jobs |= shadow_jobs(point.simulation)
        arms = {condition.name: condition.scheme for condition in conditions(point.simulation)}
        points.append({"point": point.label if plan.sweep else "", "jobs": jobs, "arms": arms})
    return {"name": plan.name, "points": points}
