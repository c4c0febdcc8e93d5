"""Giving up a trial with two objectives, for which Optuna has no rule."""

from collections.abc import Iterable, Mapping

import numpy as np

from pinet_kedro.studies.tuning.config import Pruning

Curve = Mapping[int, Mapping[str, float]]  # epoch -> head and tail NDCG@10 on validation


def is_hopeless(epoch: int, ndcg: Mapping[str, float], others: Iterable[Curve], pruning: Pruning) -> bool:
    """Whether head and tail both lie below `quantile` of what the finished trials had at this epoch.

    A trial that is good at either end of the front goes on. Trials that were given up themselves count up to where
    they came, so the bar does not rise with every one that is given up; nothing is given up before `least` of them.
    """
    if pruning.quantile == 0 or epoch < pruning.from_epoch:
        return False
    there = [curve[epoch] for curve in others if epoch in curve]
    if len(there) < pruning.least:
        return False
    return all(
        ndcg[group] < np.quantile([point[group] for point in there], pruning.quantile) for group in ("head", "tail")
    )
