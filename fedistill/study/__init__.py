"""Runs a simulation to its rows, and owns the run folder."""

from fedistill.study.run import Finished, run, run_on
from fedistill.study.single import evaluate

__all__ = ["Finished", "evaluate", "run", "run_on"]
