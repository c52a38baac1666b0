"""Run folders with made-up results, so that what reads them can be tested without training anything."""

import pandas as pd
from tiny import write_tiny

from fedistill.config import Plan, load_plan
from fedistill.study.folder.run_folder import described

PHANTOMS = ("phantom:path", "phantom:derma", "phantom:oct", "phantom:blood", "phantom:tissue", "phantom:organa")


def fabricate(folder, dataset, qualities, *, changes=(), **more):
    """Write a finished run of the tiny simulation on one data set; its folder.

    Args:
        qualities: (scheme, ipc) to AUC and accuracy, which are the same; two networks lie 0.01 to each side of it.
        changes: of the simulation, as ``--set`` takes them.
        more: columns that every row gets.
    """
    folder.mkdir(parents=True)
    path = write_tiny(folder)
    if not dataset.startswith("phantom:"):  # of which alone a number is drawn
        (folder / "tiny.toml").write_text((folder / "tiny.toml").read_text().replace("images = 60,", ""))
    plan = load_plan(path, changes=[f"federation.dataset='{dataset}'", *changes])
    (folder / "simulation.toml").write_text(described(plan))
    pd.concat(
        rows(point.simulation, qualities).assign(**values, **more) for point, values in with_columns(plan)
    ).to_csv(folder / "results.csv", index=False)
    return folder


def with_columns(plan: Plan):
    return zip(plan.points, plan.columns(), strict=True)


def rows(simulation, qualities):
    """results.csv of one simulation."""
    lines = []
    for (scheme, ipc), quality in qualities.items():
        for network, side in enumerate((-0.01, 0.01)):
            sites = {"n_sites": len(simulation.federation.sites), "site": "", "left_out": ""}
            known = {"scheme": scheme, "ipc": ipc, "recipe": "common", "model": simulation.models[0], **sites}
            lines.append(known | {"network": network, "auc": quality + side, "accuracy": quality + side})
    frame = pd.DataFrame(lines)
    frame["ipc"] = frame["ipc"].astype("Int64")
    return frame


def on_a_line(runs, datasets=PHANTOMS, *, slope=0.5, intercept=0.4, **more):
    """A run for each data set; what distilled images reach is a line of what random ones do. The folders."""
    folders = []
    for number, dataset in enumerate(datasets):
        random = 0.5 + 0.04 * number
        qualities = {("random", 2): random, ("dc", 2): intercept + slope * random}
        folder = runs / dataset.removeprefix("phantom:")
        folders.append(fabricate(folder, dataset, {("full", None): 0.9, **qualities}, **more))
    return folders
