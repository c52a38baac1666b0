"""The feasibility indicator and predictions from earlier runs."""
