"""A challenger against a reference on the same users and targets, by group of users."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pinet_kedro.checking import as_yaml
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.catalogue_alignment import align
from pinet_kedro.evaluation.coverage import Coverage
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Scorer, target_ranks
from pinet_kedro.recommender import Recommender


@dataclass(frozen=True)
class Challenge:
    """`groups`: group of users -> `users, challenger, reference` (NDCG@10) and `gain` (`relative, low, high`).

    `coverage`: share of the catalogue among the first ten that the challenger shows at least one user.
    `unknown_targets`: of challenger and reference, the targets that are misses because the model does not know them.
    `as_served`: whether the reference was ranked under the policy on seen items that it is served with.
    """

    groups: dict[str, dict[str, Any]]
    coverage: float
    reference_coverage: float
    unknown_targets: tuple[int, int]
    as_served: bool = True


def run_challenge(challenger: Recommender | Scorer, reference: Recommender | Scorer, dataset: Dataset) -> Challenge:
    """Both ranked on every test target of the dataset.

    Recommenders answer as `AlignedModel` describes. A target that a model does not know is a miss for it,
    whatever its rank: NDCG@10 = 0. Groups are those of the data's strata, alike for both, and so is the policy on seen
    items. Raises `InputError` where the challenger is served with another one.
    """
    split, item_ids = dataset.split, dataset.item_ids
    if isinstance(challenger, Recommender) and challenger.exclude_seen != split.exclude_seen:
        raise InputError(
            f"it was trained and is served with exclude_seen = {as_yaml(challenger.exclude_seen)}, but the targets in "
            f"data/ were chosen for exclude_seen = {as_yaml(split.exclude_seen)}"
        )
    sequences, users = dataset.sequences, dataset.test_users
    at, activeness = np.asarray(split.test_at)[users], dataset.activeness[users]
    target = sequences.items[sequences.offsets[users] + at] - 1
    longest = int(at.max(initial=1))
    ndcg, unknown, coverages = [], [], []
    for model in (challenger, reference):
        scorer, known = model, np.ones(len(item_ids), bool)
        if isinstance(model, Recommender):
            scorer, known = align(model, item_ids, longest)
        coverages.append(Coverage(len(item_ids)))
        ranks = target_ranks(scorer, sequences, users, at, split.exclude_seen, coverages[-1])
        ndcg.append(user_metrics(ranks)["ndcg_at_10"] * known[target])
        unknown.append(int((~known[target]).sum()))
    groups = {
        name: {
            "users": int(mask.sum()),
            "challenger": float(ndcg[0][mask].mean()),
            "reference": float(ndcg[1][mask].mean()),
            "gain": relative_gain(ndcg[0][mask], ndcg[1][mask]),
        }
        for name, mask in dataset.strata.groups(activeness).items()
        if mask.any()
    }
    as_served = not isinstance(reference, Recommender) or reference.exclude_seen == split.exclude_seen
    return Challenge(groups, coverages[0].share(), coverages[1].share(), (unknown[0], unknown[1]), as_served)
