"""plan.json: the work of a run, from which its progress can be computed."""

from typing import Any

from fedistill.config import Plan
from fedistill.study.audit.auditing import shadow_jobs
from fedistill.study.orchestrator import conditions, release_jobs


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return for every point its label, its jobs (Releases and shadows) and its conditions, by the names in events.

    Points of a sweep run a shared job once, under the label of any of them.
    """
    points = []
    for point in plan.points:
        jobs = {job.name: scheme for job, scheme in release_jobs(point.simulation)}
        jobs |= shadow_jobs(point.simulation)
        arms = {condition.name: condition.scheme for condition in conditions(point.simulation)}
        points.append({"point": point.label if plan.sweep else "", "jobs": jobs, "arms": arms})
    return {"name": plan.name, "points": points}
