"""Forecasts of a run's cost, measured before it begins."""
