"""What has come in for a model since it was trained: the histories of the users with new events."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.codes import encode, repeated
from pinet_kedro.interactions.events import Cleaning, rated_enough
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.recommender import Recommender


@dataclass(frozen=True)
class Growth:
    """Histories of the users with new events, in the model's item numbers: as it has `known` them, and as they are
    `now`; in both the same users in the same order.

    `new_users` are the ids of those without known events; `users` and `events` are the totals of the whole log now.
    `unknown_events` with `unknown_items` wait for a training.
    """

    known: Sequences
    now: Sequences
    new_users: list[str]
    users: int
    events: int
    unknown_events: int
    unknown_items: int

    @property
    def new_events(self) -> int:
        """Events that the model has not learnt."""
        return len(self.now.items) - len(self.known.items)

    def sentence(self) -> str:
        """What a refresh counts, and what waits for a training."""
        counted = f"{self.new_events:,} new events of {self.now.n_users:,} users are counted"
        if not self.unknown_events:
            return counted
        return (
            f"{counted}; {self.unknown_events:,} more, with {self.unknown_items:,} items of which the version has "
            "learnt no event, wait for the next training"
        )


def find_growth(model: Recommender, learnt: pd.DataFrame, new: pd.DataFrame, cleaning: Cleaning) -> Growth:
    """What `new` raw events add to the `learnt` ones that the model was trained on.

    What cleaning has kept of `learnt` follows from the model's catalogue: the k-core is the largest set of events in
    which all users and items have the minimum, so its users are those with the minimum of events with its items. Raises
    `InputError` if the model has counted other events, or if there is no new event for it.
    """
    parts = [part[rated_enough(part, cleaning)] for part in (learnt, new)]
    events = pd.concat(parts, ignore_index=True)
    is_new = np.arange(len(events)) >= len(parts[0])
    codes, distinct = encode(events["item_id"])
    numbers = pd.Index(model.item_ids.astype(str)).get_indexer(pd.Index(distinct).astype(str)) + 1
    # Cleaning may have dropped all events of an item that the model has from the metadata: they are not counted.
    numbers[(numbers > 0) & (model.popularity.counts[numbers - 1] == 0)] = 0
    user, user_ids = encode(events["user_id"])
    item, time = numbers[codes], events["timestamp"].to_numpy(np.int64)
    waiting = codes[is_new & (item == 0)]
    kept = np.flatnonzero(item > 0)
    # Of a repeated event the first stays: the learnt one.
    kept = kept[~repeated([user[kept], item[kept], time[kept]], keep="first")]
    user, item, time, is_new = user[kept], item[kept].astype(np.int32), time[kept], is_new[kept]
    before, after = np.bincount(user[~is_new], minlength=1 + user.max(initial=0)), np.bincount(user)
    before, after = (np.where(counts >= cleaning.min_user_events, counts, 0) for counts in (before, after))
    in_known = ~is_new & (before > 0)[user]
    counted = np.bincount(item[in_known], minlength=model.n_items + 1)[1:]
    if not np.array_equal(counted, model.popularity.counts):
        raise InputError(
            f"the log is not the one that the champion has learnt: it has counted {model.popularity.counts.sum():,} "
            f"events, and here are {counted.sum():,} of its items. Restore the raw log, the partitions and the "
            "parameters `cleaning` with which it was trained, or train: kedro run --pipeline=retraining."
        )
    rows = np.flatnonzero((after > before)[user])
    rows = rows[np.lexsort((time[rows], user[rows]))]  # stable: equal times keep the order of the log
    now = Sequences(item[rows], time[rows], np.concatenate([[0], np.cumsum(after[after > before])]))
    return Growth(
        known=now.where(in_known[rows]),
        now=now,
        new_users=[str(user_ids[number]) for number in np.flatnonzero((after > 0) & (before == 0))],
        users=int((after > 0).sum()),
        events=int(after.sum()),
        unknown_events=len(waiting),
        unknown_items=len(np.unique(waiting)),
    )
