"""What failed and what is missing: a report that is silent about it would claim more than was measured."""

from collections import Counter
from collections.abc import Iterator

from fedistill.config.scheme import scheme_named
from fedistill.core.events import INCIDENTS
from fedistill.report.run_data import RunData
from fedistill.study.feasibility.run_metrics import distils
from fedistill.study.folder.event_log import older_words, unread_words
from fedistill.study.tables.missing import missing_releases, unheld


def failures(run: RunData) -> list[str]:
    """Return what was asked for and did not come."""
    lines = missing_releases(run.by_site)
    diverged = run.rows[run.rows["accuracy"].isna()]
    for scheme, group in diverged.groupby("scheme", sort=False):
        lines.append(f"{len(group)} networks of {scheme} diverged; means that they belong to are blank.")
    named = set(run.by_site.loc[run.by_site["status"].notna() & (run.by_site["status"] != "shared"), "site"])
    for event in run.events:
        if event.kind == "failed" and event.site and event.site not in named:
            named.add(event.site)
            lines.append(f"{event.site}, {event.job}: {event.message}")
    return lines


def incidents(run: RunData) -> list[str]:
    """Return what went wrong on the way and cost nothing but time, each cause once."""
    times: Counter[tuple[str, str]] = Counter()
    for event in run.events:
        if event.kind in INCIDENTS:
            times[f"{event.site} {event.title}".strip() or "server", event.message] += 1
    unread = [f"{words}." for words in (unread_words(run.log.unreadable), older_words(run.log.older)) if words]
    return unread + [
        f"{job}: {words}" + (f" ({count} times)" if count > 1 else "") for (job, words), count in times.items()
    ]


def gaps(run: RunData) -> list[str]:
    """Return what was not measured, so that nobody takes silence for a zero."""
    return list(_gaps(run))


def _gaps(run: RunData) -> Iterator[str]:
    simulation = run.plan.first
    yield from dict.fromkeys(event.message for event in run.events if event.kind == "note")
    schemes = list(simulation.scheme)
    if run.privacy.empty:
        yield ("What the sites sent tells of single patients was not measured in this run: no attack was tried on it.")
    if run.environment.get("engine") != "superlink" and any(distils(each) for each in schemes):
        yield (
            "This is a simulation: its seeds are known to whoever has its file. A deployed site mixes a secret of its "
            "own into each, so nobody else can repeat its distillation."
        )
    if "full" not in schemes:
        yield "Nothing was trained on all images together (scheme full): how much is lost by sharing less is open."
    if "random" not in schemes:
        yield "No random images were shared (scheme random): whether distilling beats choosing at random is open."
    if not any(scheme_named(each).has_rounds for each in schemes):
        yield "No federated training was run (fedavg, fedprox): what hospitals could reach by it is not shown."
    if simulation.federation.held_out == 0:
        yield "Sites set no images aside (held_out = 0): what each site itself gains was not measured."
    elif "local" not in schemes:
        yield "Sites trained no networks of their own (scheme local): what each gains by sharing was not measured."
    if simulation.seeds == 1 and any(distils(each) for each in schemes):
        yield (
            "Everything was distilled once (seeds = 1): the intervals cover networks and test images, and not the "
            "chance in distilling itself."
        )
    if simulation.partitions == 1 and not any(name.startswith("federation") for name in run.swept):
        yield "One division of the data among the sites (partitions = 1): another one could turn out otherwise."
    yield from unheld(run.at_first_point(run.holdings))
    majority = run.majority.get("accuracy")
    if majority is not None and majority > 0.6:
        yield (
            f"Classes are unequal: who always names the commonest is right on {100 * majority:.1f} %. Read AUC and "
            "balanced accuracy first."
        )
