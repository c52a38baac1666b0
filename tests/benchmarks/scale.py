"""`make scale`: what a site costs the driver. Runs of 10, 100 and 1000 sites that share random subsets, twenty phantom
images each, in a process of its own each: seconds, peak memory of the driver, and seconds for each site more.

    PYTHONPATH=tests .venv/bin/python -m benchmarks.scale OUT --engine local --sites 10 100 1000
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

EACH = 20  # training images a site
MOST_BYTES, MOST_SECONDS = 2 << 30, 0.15
"""What the driver may take at the peak, and seconds for each site more."""

PLAN = """
networks = 2
width = 8
ipc = [1]
[federation]
name = "scale"
dataset = "phantom:breast"
images = {images}
sites = {sites}
policy = {{ allow_real_images = true }}
[recipe]
steps = 5
max_steps = 5
lr = [0.01, 0.03]
pilots = 1
[scheme.random]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--engine", default="local", help="local (Ray) or inline")
    parser.add_argument("--sites", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.out, given.engine, given.sites[0])))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    print(f"{'sites':>6} {'seconds':>8} {'of it CPU':>9} {'driver':>9} {'a site':>8}")
    for sites in given.sites:
        found.append(in_a_process(given.out, given.engine, sites))
        one, first = found[-1], found[0]
        more = (one["seconds"] - first["seconds"]) / max(1, sites - first["sites"])
        each = f"{more:.3f} s" if sites > first["sites"] else ""
        times = f"{one['seconds']:>8.1f} {one['driver_cpu_seconds']:>9.1f}"
        print(f"{sites:>6} {times} {one['bytes'] / 2**20:>6.0f} MB {each:>8}", flush=True)
    (given.out / f"scale-{given.engine}.json").write_text(json.dumps(found, indent=1) + "\n")
    if any(each["bytes"] > MOST_BYTES for each in found):
        sys.exit(f"the driver took more than {MOST_BYTES >> 30} GiB")
    if len(found) > 1 and more > MOST_SECONDS:
        sys.exit(f"a site more took more than {MOST_SECONDS} s")


def in_a_process(out: Path, engine: str, sites: int) -> dict[str, float]:
    """`measured`, whose peak of memory is its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(out), "--engine", engine, "--sites", str(sites), "--child"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(out: Path, engine: str, sites: int) -> dict[str, float]:
    """Seconds of a run with its report, without imports and Ray's start; and bytes of this process at its peak."""
    from fedistill.config import load_plan
    from fedistill.report.html.page import write_report
    from fedistill.study import run

    path = out / f"scale-{sites}.toml"
    path.write_text(PLAN.format(sites=sites, images=EACH * sites))
    begun, processor = time.perf_counter(), time.process_time()
    finished = run(load_plan(str(path)), out=out / f"{engine}-{sites}", engine=engine, fresh=True)
    write_report(finished)
    seconds = time.perf_counter() - begun
    if finished.timing is not None:
        seconds -= finished.timing.start_seconds
    shared = int(finished.rows["n_sites"].iloc[0])
    assert shared == sites, f"{shared} of {sites} sites"
    kilo = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
    processor = round(time.process_time() - processor, 2)
    return {"sites": sites, "seconds": round(seconds, 2), "driver_cpu_seconds": processor, "bytes": peak}


if __name__ == "__main__":
    main()
