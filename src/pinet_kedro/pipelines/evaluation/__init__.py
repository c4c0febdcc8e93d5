"""Evaluation: ranks, metrics by group of users, intervals, the report page."""
