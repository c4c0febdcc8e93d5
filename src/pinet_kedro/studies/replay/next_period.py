"""What each way of keeping up is worth in the period that follows: none, a refresh, a training with its refit."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.challenge import measured, run_challenge
from pinet_kedro.evaluation.drift import EventsInMemory, first_new_events
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender

# The champion before the period, its refresh, and the version trained with it, promoted or not; as they are served.
WAYS = ("kept", "refreshed", "trained")
_GROUPS, _ENDS = ("all", "head", "tail"), ("relative", "low", "high")
# Columns of a period that nothing follows.
NO_NEXT: dict[str, Any] = {
    "next_targets": None,
    **{f"next_{model}_{group}": None for model in ("popularity", *WAYS) for group in _GROUPS},
    **{f"next_{way}_gain_{end}": None for way in WAYS[1:] for end in _ENDS},
}


def judge_by_next(models: Mapping[str, Recommender], before: pd.DataFrame, following: pd.DataFrame) -> dict[str, Any]:
    """NDCG@10 of models (by way, 'trained' among them) on the first event of every user with a history `before` among
    the events `following`, as columns `next_…`; gains over the champion that was kept, for all users.

    All have the same targets and histories, and the strata of the one that was trained. A gain that is not measured
    (`challenge.measured`) has no interval.
    """
    dataset = first_new_events(models["trained"], EventsInMemory(before), following)
    row = NO_NEXT | {"next_targets": len(dataset.test_users)}
    if not row["next_targets"]:
        return row
    popular = PopularityScorer(count_popularity(dataset))
    for way, model in models.items():
        kept = models.get("kept")
        reference = kept if kept is not None and way != "kept" else popular
        groups = measured(run_challenge(model, reference, dataset).groups)
        row |= {f"next_{way}_{group}": found["challenger"] for group, found in groups.items() if group in _GROUPS}
        if reference is popular:
            row |= {
                f"next_popularity_{group}": found["reference"] for group, found in groups.items() if group in _GROUPS
            }
        else:
            row |= {f"next_{way}_gain_{end}": groups["all"]["gain"][end] for end in _ENDS}
    return row
