"""Refresh: what counting alone estimates is brought up to date with new events, between two trainings."""

from dataclasses import replace

from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.plugins.memory import update_memory
from pinet_kedro.plugins.popularity import Popularity, count_events
from pinet_kedro.plugins.scorers import FrozenScorers
from pinet_kedro.recommender import Recommender


def refreshed(model: Recommender, known: Sequences, now: Sequences) -> Recommender:
    """The model after some histories have grown from `known`, which it has learnt, to `now`.

    Both have the same users in the same order, in the model's item numbers; users who are new have no events in
    `known`. Popularity, recency, the memory and other scorers that only count (`FrozenScorer.counted`) become those of
    all events, at a cost that depends on the new ones. The backbone, the factors of the items and the weights of the
    plugins stay: the factors of a user are computed from the newest events of each request anyway. Candidates of the
    model are gone; those of the new one are others.
    """
    model = replace(model, candidates=None)
    popularity = model.popularity
    one, two = (count_events(histories, histories.lengths, model.n_items) for histories in (known, now))
    again = Popularity(
        popularity.counts + two.counts - one.counts,
        popularity.recent + two.recent - one.recent,
    )
    if model.plugins is None:
        return replace(model, popularity=again)
    scorers = model.plugins.scorers
    memory = update_memory(scorers.memory, known, now, (popularity.counts, again.counts))
    others = {name: scorer.counted(again) for name, scorer in scorers.others.items()}
    newer = FrozenScorers(memory, others, again)
    return replace(model, popularity=again, plugins=replace(model.plugins, scorers=newer))
