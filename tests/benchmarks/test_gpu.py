"""`make bench-gpu` without a card: the forms that a GPU takes, tiny, against the readable ones; and its table."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import check, quality


def test_every_form_for_a_gpu_gives_the_readable_form_s_numbers():
    found = check.compared(torch.device("cpu"))
    assert {"DC, iterations", "DSA, iterations", "DM, iterations", "MTT, gradient"} < set(found)
    assert all(part.fine for part in found.values()), found


def test_a_wrong_form_is_found(monkeypatch):
    from fedistill.models.fused import Formulas

    right = Formulas.double_backward
    monkeypatch.setattr(Formulas, "double_backward", staticmethod(lambda *a: tuple(1.01 * t for t in right(*a))))
    found = check.compared(torch.device("cpu"))
    assert not found["MTT, gradient"].fine and not found["DC, iterations"].fine and found["SGD, steps"].fine


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_card_it_says_so_in_a_line():
    # From the folder of the tests: there is the package, as `make bench-gpu` finds it by PYTHONPATH.
    tests = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, cwd=tests)
    assert done.returncode == 2 and "No GPU" in done.stdout and done.stdout.count("\n") == 1


def test_the_table_has_rates_and_ratios():
    ceilings = {"matrix product": {"tf32": 400.0}, "3 x 3 convolution": {"tf32": 350.0}}
    seconds = {"plain": [9.0, 4.0, 4.0], "tf32": [3.0, 1.0, 1.0], "bfloat16": [2.0, 0.5]}
    row = {"unit": "ms", "flops": 2e12, "seconds": seconds}
    memory = {"MTT, 20 steps": {"plain": 5.8, "FeDistill": 0.8}}
    results = {
        "card": "C",
        "torch": "1",
        "ceilings": ceilings,
        "rows": {"step": row},
        "memory": memory,
        "seconds": 70.0,
    }
    text = command.markdown(results)
    assert "| step | 4e+03 ms (0) | 1e+03 ms (2) | 500 ms (4) | 4.0 |" in text
    assert "| MTT, 20 steps, peak GB | 5.8 | 0.8 | | |" in text


def test_quality_is_compared_seed_by_seed():
    aucs = {"float32": (80.0, 90.0), "tf32": (81.0, 91.0), "bfloat16": (79.0, 93.0)}
    results = [
        {"set": "x", "method": "dc", "ipc": 1, "precision": p, "seed": s, "auc": auc}
        for p, pair in aucs.items()
        for s, auc in enumerate(pair)
    ]
    assert quality.table(results).splitlines()[-1] == "| x, dc, 1 | 2 | 85.00 ± 7.07 | 1.00 ± 0.00 | 1.00 ± 2.83 |"
