"""Runs a simulation to its rows, and owns the run folder."""

from fedistill.study.run import Finished, run, run_on

__all__ = ["Finished", "run", "run_on"]
