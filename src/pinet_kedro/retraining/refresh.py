"""Refresh: the champion's counts brought up to date with what has come in since it was trained, without training."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.errors import InputError
from pinet_kedro.fitting.refresh import refreshed
from pinet_kedro.interactions.codes import encode, repeated
from pinet_kedro.interactions.events import Cleaning, rated_enough
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import Split, without_repeats
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.loading import VersionModels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Growth:
    """Histories of the users with new events, in the model's item numbers: as it has `known` them, and as they are
    `now`; in both the same users in the same order.

    `users` and `events` are the totals of the whole log now. `unknown_events` with `unknown_items` wait for a training.
    """

    known: Sequences
    now: Sequences
    users: int
    events: int
    unknown_events: int
    unknown_items: int

    @property
    def new_events(self) -> int:
        """Events that the model has not learnt."""
        return len(self.now.items) - len(self.known.items)


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
    item, user, time = numbers[codes], encode(events["user_id"])[0], events["timestamp"].to_numpy(np.int64)
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
        users=int((after > 0).sum()),
        events=int(after.sum()),
        unknown_events=len(waiting),
        unknown_items=len(np.unique(waiting)),
    )


def refresh(model: Recommender, growth: Growth, since: int, held_out: float) -> tuple[VersionModels, Dataset]:
    """The champion's model after all events, beside the one that is judged, and the data to judge it on.

    The targets are the first events of users with a history after a cut in time, which leaves the share `held_out` of
    the events that are newer than `since` (ns) after it; the judged model has learnt everything before the cut.
    `since`: until when the champion has learnt. Raises `InputError` if no new event is newer.
    """
    now = growth.now
    fresh = np.sort(now.timestamps[now.timestamps > since])
    if len(fresh) == 0:
        raise InputError(
            "no new event is newer than what the champion has learnt, so a refresh cannot be judged. Late events are "
            "learnt by the next training: kedro run --pipeline=retraining."
        )
    cut = int(fresh[int(len(fresh) * (1 - held_out))])
    nothing = np.zeros(now.n_users, np.int64)
    until_cut = now.where(now.timestamps < cut)
    before = until_cut.lengths
    split = Split(
        train_end=before,
        valid_at=nothing - 1,
        test_at=np.where((before > 0) & (before < now.lengths), before, -1),
        test_from=before,
        exclude_seen=model.exclude_seen,
    )
    if model.exclude_seen:
        split = without_repeats(now, split)
    counts = np.bincount(until_cut.items, minlength=model.n_items + 1)[1:]
    items = pd.DataFrame({"item_id": pd.array(model.item_ids, "string"), "training_events": counts})
    models = VersionModels(
        served=refreshed(model, growth.known, now),
        judged=refreshed(model, growth.known, until_cut),
        served_until=int(fresh[-1]),
        judged_until=max(since, int(until_cut.timestamps.max(initial=0))),
    )
    return models, Dataset(now, split, model.strata, items)
