"""Challenger against champion by strata: the aliases of the registry move, or the refusal says why not."""
