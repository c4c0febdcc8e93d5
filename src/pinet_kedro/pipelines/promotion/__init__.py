"""Comparison of challenger and champion by strata: aliases move, or the refusal gives the reasons."""
