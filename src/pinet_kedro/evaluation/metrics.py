"""Metrics of one held-out target per user, as functions of its rank r among n candidates."""

import numpy as np
from jaxtyping import Bool, Float

from pinet_kedro.evaluation.ranks import Ranks

CUT_OFF = 10


def user_metrics(ranks: Ranks) -> dict[str, Float[np.ndarray, " U"]]:
    """NDCG@10 = 1/log₂(r + 1) and HR@10 = 1 for r ≤ 10, else 0; MRR = 1/r; AUC = 1 − (r − 1)/(n − 1).

    With a single relevant item the ideal DCG is 1, recall equals HR, and AUC is the share of all other candidates that
    are ranked below it (Rendle, arXiv 1912.02263, §3).
    """
    r = ranks.rank
    hit = r <= CUT_OFF
    return {
        "ndcg_at_10": np.where(hit, 1 / np.log2(r + 1), 0.0),
        "hr_at_10": hit.astype(float),
        "mrr": 1 / r,
        "auc": 1 - (r - 1) / np.maximum(ranks.candidates - 1, 1),
    }


def metrics_by_group(ranks: Ranks, groups: dict[str, Bool[np.ndarray, " U"]]) -> dict[str, dict[str, float]]:
    """Number of users and mean metrics of every group with users."""
    values = user_metrics(ranks)
    return {
        name: {"users": int(mask.sum()), **{metric: float(value[mask].mean()) for metric, value in values.items()}}
        for name, mask in groups.items()
        if mask.any()
    }
