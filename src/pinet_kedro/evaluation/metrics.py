"""Metrics of one held-out target per user, as functions of its rank r among n candidates."""

import numpy as np
from jaxtyping import Bool, Float

from pinet_kedro.evaluation.ranks import Ranks

CUT_OFFS = (5, 10, 20)


def user_metrics(ranks: Ranks) -> dict[str, Float[np.ndarray, " U"]]:
    """NDCG@k, HR@k and MRR@k for k = 5, 10 and 20, MRR and AUC of every user.

    For r ≤ k, NDCG@k = 1/log₂(r + 1) (Järvelin and Kekäläinen, ACM TOIS 20, 2002), HR@k = 1 and MRR@k = 1/r (Voorhees,
    TREC-8, 1999); for r > k they are 0. MRR = 1/r has no cut-off. AUC = 1 − (r − 1)/(n − 1) is the share of all other
    candidates that are ranked below the target (Rendle, arXiv 1912.02263, §3).

    With a single relevant item the ideal DCG is 1, and recall equals HR. In RecTools they are `MRR`, `HitRate`, and
    `NDCG` with `divide_by_achievable=True`; its default divides by the DCG of k relevant items, 4.54 for k = 10.
    """
    r = ranks.rank
    of_hits = {"ndcg": 1 / np.log2(r + 1), "hr": np.ones(len(r)), "mrr": 1 / r}
    cut = {f"{name}_at_{k}": np.where(r <= k, value, 0.0) for name, value in of_hits.items() for k in CUT_OFFS}
    return cut | {"mrr": 1 / r, "auc": 1 - (r - 1) / np.maximum(ranks.candidates - 1, 1)}


def metrics_by_group(ranks: Ranks, groups: dict[str, Bool[np.ndarray, " U"]]) -> dict[str, dict[str, float]]:
    """Number of users and mean metrics of every group with users."""
    values = user_metrics(ranks)
    return {
        name: {"users": int(mask.sum()), **{metric: float(value[mask].mean()) for metric, value in values.items()}}
        for name, mask in groups.items()
        if mask.any()
    }
