"""How much faster are two workers? One simulation of four equal sites, run anew each time, in turn: with one worker of
one thread, with two, and with one of two threads.

    PYTHONPATH=tests .venv/bin/python -m benchmarks.workers OUT --repeats 3

`--times 3` makes three times as many steps: start, tables and report take the same few seconds of a longer run.
Wall seconds of whole runs without Ray's start, which `timing.json` tells apart; medians, and ratios within a repeat.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

FOUR = """
networks = 4
width = 32
ipc = [10]
[federation]
name = "four-equal"
dataset = "phantom:pneumonia"
images = 2000
sites = ["north", "east", "south", "west"]
policy = {{ allow_real_images = true }}
[recipe]
steps = {steps}
max_steps = {steps}
lr = [0.01, 0.03]
[scheme.random]
[scheme.dc]
iterations = {iterations}
looks = 2
"""

CASES = {
    "one worker": (1, 1),
    "two workers": (2, 1),
    "one worker, two threads": (1, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=1, help="as many steps")
    parser.add_argument("--only", nargs="+", choices=[*CASES], default=[*CASES], help="the first has to be among them")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    plan = given.out / "four-equal.toml"
    plan.write_text(FOUR.format(steps=100 * given.times, iterations=30 * given.times))
    cases = {name: CASES[name] for name in given.only}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(given.repeats):
        for name, (workers, threads) in cases.items():
            out = given.out / f"{name.replace(' ', '-').replace(',', '')}-{repeat}"
            seconds[name].append(run(plan, out, workers, threads))
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    one = seconds["one worker"]
    for name, taken in seconds.items():
        ratios = [t / base for t, base in zip(taken, one, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name}: median {median(taken):.1f} s, {median(ratios):.2f} of one worker's time ({spread})")


def run(plan: Path, out: Path, workers: int, threads: int) -> float:
    """Seconds of one whole run, without Ray's start."""
    sites = [f"federation.site.{name}.threads={threads}" for name in ("north", "east", "south", "west")]
    changes = [f"--set={change}" for change in (*sites, f"threads={threads}")]
    command = [
        sys.executable,
        "-m",
        "fedistill.cli",
        "run",
        str(plan),
        f"--out={out}",
        f"--workers={workers}",
        "--fresh",
    ]
    subprocess.run([*command, *changes], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    timing = json.loads((out / "timing.json").read_text())
    return float(timing["wall_seconds"] - timing["start_seconds"])


if __name__ == "__main__":
    main()
