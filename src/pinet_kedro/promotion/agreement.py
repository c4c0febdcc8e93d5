"""Whether a version answers with its own code as it is judged with this project's."""

from collections.abc import Sequence

import numpy as np

from pinet_kedro.dataset import Dataset
from pinet_kedro.recommender import Recommender

_USERS = 20
_NEWEST = 1000  # events of a history


def histories_of(dataset: Dataset) -> list[list[str]]:
    """Raw ids of the events before the test targets of some users, from the shortest history to the longest."""
    users, at = dataset.test_users, dataset.split.test_at
    order = users[np.argsort(at[users], kind="stable")]
    chosen = order[np.linspace(0, len(order) - 1, min(_USERS, len(order))).astype(int)]
    begin, items = dataset.sequences.offsets, dataset.sequences.items
    runs = [items[begin[user] : begin[user] + at[user]][-_NEWEST:] for user in chosen]
    return [dataset.item_ids[run - 1].tolist() for run in runs]


def disagreement(
    model: Recommender, histories: Sequence[list[str]], answers: Sequence[tuple[list[str], list[float]]]
) -> str | None:
    """The first difference between the answers of the version, from its own process, and those of this code; None if
    the lists are equal, but for items whose scores are equal to the precision of float32."""
    for history, (items, scores), mine in zip(histories, answers, model.recommend(list(histories)), strict=True):
        alike = len(items) == len(mine.items) and np.allclose(scores, mine.scores, rtol=1e-3, atol=1e-4)
        if items != mine.items and not alike:
            return (
                f"after a history of {len(history):,} events, its own code answers {', '.join(items[:3])}, …, and the "
                f"code that judges it {', '.join(mine.items[:3])}, …: register it again (kedro run "
                "--pipeline=registration), so that what is served is what is judged"
            )
    return None
