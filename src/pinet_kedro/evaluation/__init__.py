"""Ranks in the whole catalogue, metrics by group of users, paired intervals, comparisons, drift."""
