"""Comparison of a challenger with a reference on the same users and targets, by group of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pinet_kedro.checking import as_yaml
from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.beyond_accuracy import coverage, targets
from pinet_kedro.evaluation.catalogue_alignment import align
from pinet_kedro.evaluation.intervals import relative_gain
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Scorer, lists_of, target_ranks
from pinet_kedro.recommender import Recommender

# With fewer users who have a hit, resamples of users are nearly alike, and the interval of a gain is too narrow: with a
# single one it has no width at all.
LEAST_HITS = 10


@dataclass(frozen=True)
class Challenge:
    """`groups`: group of users -> `users`, `hits` (those whose target one of the two has in its first ten),
    `challenger, reference` (NDCG@10) and `gain` (`relative, low, high`).

    `coverage`: share of the catalogue that is in the challenger's top ten for at least one user.
    `shared_items`: share of the reference's catalogue that the challenger knows.
    `unknown_targets`: numbers of targets that challenger and reference do not know and therefore miss.
    `as_served`: whether the reference was ranked with the policy on seen items of its serving.
    """

    groups: dict[str, dict[str, Any]]
    coverage: float
    reference_coverage: float
    unknown_targets: tuple[int, int]
    as_served: bool = True
    shared_items: float = 1.0


def run_challenge(challenger: Recommender | Scorer, reference: Recommender | Scorer, dataset: Dataset) -> Challenge:
    """NDCG@10 of both models on every test target of the dataset, and the gains.

    `AlignedModel` describes how recommenders are ranked. A target that a model does not know is a miss (NDCG@10 = 0).
    Both models have the groups and the policy on seen items of the dataset. Raises `InputError` if the challenger's own
    policy is another one.
    """
    split, item_ids = dataset.split, dataset.item_ids
    if isinstance(challenger, Recommender) and challenger.exclude_seen != split.exclude_seen:
        raise InputError(
            f"it was trained and is served with exclude_seen = {as_yaml(challenger.exclude_seen)}, but the targets in "
            f"data/ were chosen for exclude_seen = {as_yaml(split.exclude_seen)}"
        )
    sequences, users = dataset.sequences, dataset.test_users
    at, activeness = np.asarray(split.test_at)[users], dataset.activeness[users]
    target = targets(dataset, users)
    longest = int(at.max(initial=1))
    ndcg, unknown, coverages = [], [], []
    for model in (challenger, reference):
        scorer, known = model, np.ones(len(item_ids), bool)
        if isinstance(model, Recommender):
            scorer, known = align(model, item_ids, longest)
        ranks = target_ranks(scorer, sequences, users, at, split.exclude_seen, top=True)
        coverages.append(coverage(lists_of(ranks), len(item_ids)))
        ndcg.append(user_metrics(ranks)["ndcg_at_10"] * known[target])
        unknown.append(int((~known[target]).sum()))
    groups = {
        name: {
            "users": int(mask.sum()),
            "hits": int((ndcg[0][mask] + ndcg[1][mask] > 0).sum()),
            "challenger": float(ndcg[0][mask].mean()),
            "reference": float(ndcg[1][mask].mean()),
            "gain": relative_gain(ndcg[0][mask], ndcg[1][mask], least=1),  # `too_few` judges `hits`
        }
        for name, mask in dataset.strata.groups(activeness).items()
        if mask.any()
    }
    as_served = not isinstance(reference, Recommender) or reference.exclude_seen == split.exclude_seen
    shared = 1.0
    if isinstance(challenger, Recommender) and isinstance(reference, Recommender):
        shared = float(np.isin(reference.item_ids, challenger.item_ids).mean())
    return Challenge(groups, coverages[0], coverages[1], (unknown[0], unknown[1]), as_served, shared)


def too_few(group: Mapping[str, Any], users: int = LEAST_HITS) -> str | None:
    """Why the gain of a group of a `Challenge` is not measured, in words; None if it is.

    It needs so many users, and ten of them with a hit; fewer hits where fewer users are asked for.
    """
    if group["users"] < users:
        return f"{_users(group['users'])}, {users:,} are needed"
    least = min(users, LEAST_HITS)
    if 0 < (hits := group.get("hits", group["users"])) < least:
        has = "has" if hits == 1 else "have"
        return f"{hits:,} of {_users(group['users'])} {has} a hit with one of the two, {least:,} are needed"
    return None


def _users(number: int) -> str:
    return f"{number:,} user{'' if number == 1 else 's'}"


def measured(groups: Mapping[str, dict[str, Any]], users: Mapping[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """The groups of a `Challenge`; a gain that is not measured with so many `users` has no interval."""
    needed = dict.fromkeys(groups, LEAST_HITS) | dict(users or {})
    return {
        name: group | {"gain": group["gain"] | {"low": None, "high": None}} if too_few(group, needed[name]) else group
        for name, group in groups.items()
    }
