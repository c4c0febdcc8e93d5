"""Six users of an evaluation, chosen by a fixed rule: what base and PIN offer them, why, and what they took next."""

from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.explanation import Explanation, explain
from pinet_kedro.inspection.reasons import in_words
from pinet_kedro.inspection.titles import Titles
from pinet_kedro.recommender import Recommender

_GROUPS = {"q1": "Tail, the least active fifth", "q3": "Middle fifth", "head": "Head"}
_QUANTILES = (0.1, 0.9)
_OFFERED = 5  # items
_NEWEST = 8  # items of the history that are shown


def pick_users(dataset: Dataset) -> list[tuple[str, int]]:
    """Group and number of up to two users with a test target in tail, middle and head.

    They are those nearest to the 10 % and the 90 % quantile of activeness in their group; of equally near ones, the
    first by id.
    """
    users = dataset.test_users
    activeness = dataset.activeness[users]
    groups = dataset.strata.groups(activeness)
    picked: list[tuple[str, int]] = []
    for group in _GROUPS:
        members = groups.get(group, np.zeros(len(users), bool))
        for quantile in _QUANTILES:
            left = np.flatnonzero(members & ~np.isin(users, [user for _, user in picked]))
            if len(left):
                distance = np.abs(activeness[left] - np.quantile(activeness[members], quantile))
                picked.append((group, int(users[left[distance.argmin()]])))
    return picked


def show_examples(
    dataset: Dataset,
    user_ids: pd.Series,
    items: pd.DataFrame,
    ranks: pd.DataFrame,
    base: Recommender,
    pin: Recommender,
) -> list[dict[str, Any]]:
    """For each of `pick_users`: the newest items before the target, the target with its rank by base and PIN, and rows
    of what both offer. `ranks` are those of the evaluation.

    Both models are judged on the targets, so they have learnt none of them.
    """
    titles, item_ids, split = Titles(items), dataset.item_ids, dataset.split
    of_target = ranks.set_index(["user", "model"])["rank"]
    found = []
    for group, user in pick_users(dataset):
        at = int(split.test_at[user])
        start = dataset.sequences.offsets[user]
        history = item_ids[dataset.sequences.items[start : start + at] - 1].tolist()
        target = str(item_ids[dataset.sequences.items[start + at] - 1])
        of_base, of_pin = (explain(model, history, _OFFERED, split.exclude_seen) for model in (base, pin))
        found.append(
            {
                "group": _GROUPS[group],
                "user": str(user_ids.iloc[user]),
                "events": int(dataset.activeness[user]),
                "history": [_named(item, titles) for item in history[: -_NEWEST - 1 : -1]],
                "target": _named(target, titles),
                "ranks": {model: float(of_target[user, model]) for model in ("base", "pin")},
                "rows": _rows(of_base, of_pin, titles, target),
            }
        )
    return found


def _rows(base: Explanation, pin: Explanation, titles: Titles, target: str) -> list[dict[str, Any]]:
    """One row per rank; fewer items may be left for one model than for the other."""
    rows = []
    for of_base, of_pin in zip_longest(base.items, pin.items):
        offered = {
            model: explained and _named(explained.item, titles, target)
            for model, explained in (("base", of_base), ("pin", of_pin))
        }
        rows.append({**offered, "why": of_pin and in_words(pin, of_pin, titles)})
    return rows


def _named(item: str, titles: Titles, target: str | None = None) -> dict[str, Any]:
    return {"item": item, "title": titles.of(item), "taken": item == target}
