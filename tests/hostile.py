"""A small run of every kind of scheme, on a file whose name and classes are what nobody hopes for."""

from pathlib import Path

import numpy as np

from fedistill.config import load_plan
from fedistill.study import run

CLASSES = ('<script>alert("class")</script>', "$\\frac{1}{ & Söhne, " + "Hochzellulär" * 6, "NA")
FILE = "a\"b' onerror=alert(1) <img src=x>$.npz"

PLAN = """
federation = {{ name = "two", dataset = {file}, sites = ["a", "St Mary"], held_out = 0.2, policy = {{ allow_real_images = true, allow_weights = true, start = "real" }} }}
networks = 2
width = 4
ipc = [1, 2]
leave_out = ["dm"]
[recipe]
steps = 4
max_steps = 4
lr = 0.01
[scheme.full]
[scheme.random]
[scheme.dm]
iterations = 4
early_networks = 1
early_steps = 4
looks = 2
[scheme.central-dm]
[scheme.fedavg]
rounds = [1, 2]
[scheme.local]
[scheme.ensemble]
[scheme.join]
of = "dm"
"""  # noqa: E501 - a table of TOML is a line


def run_hostile(folder: Path) -> Path:
    """Run it; the run folder."""
    random = np.random.default_rng(0)
    arrays = {"class_names": np.array(CLASSES)}
    for split, count in (("train", 90), ("val", 60), ("test", 30)):
        labels = np.arange(count) % 3
        images = random.integers(0, 60, (count, 28, 28)) + 60 * labels[:, None, None]
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    np.savez(folder / FILE, **arrays)
    (folder / "hostile.toml").write_text(PLAN.format(file=f"'''{folder / FILE}'''"))
    return run(load_plan(str(folder / "hostile.toml")), out=folder / "out", engine="inline").root
