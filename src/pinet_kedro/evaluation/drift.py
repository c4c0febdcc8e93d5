"""Drift: how much new events differ from the training data of a model, and how well the model ranks them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, spearmanr

from pinet_kedro.activeness import Strata
from pinet_kedro.configuration import Stored
from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.challenge import measured, run_challenge
from pinet_kedro.interactions.events import EVENT
from pinet_kedro.interactions.sequences import Indexed, build_sequences
from pinet_kedro.interactions.split import Split, without_repeats
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import Recommender

_DRAWS = 20
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Size(Stored):
    """Events, users and items of a set of events."""

    events: int
    users: int
    items: int


class PopularityShift(Stored):
    """Change of the items' shares of the events."""

    divergence: float = Field(description="Jensen-Shannon divergence, base 2: 0 = the same shares, 1 = no common item")
    by_chance: float = Field(description="its mean if the new events were drawn with the old shares")
    rank_correlation: float | None = Field(description="Spearman correlation of the items' events, over all items")


class ActivenessShift(Stored):
    """Change of the number of events per user, as pairs (old, new).

    Old are the newest training events, as many as there are new events. `strata` has the share of users in each stratum
    of the model: for its training data, and for the users of the new events, routed by their training events (an
    unknown user has none).
    """

    distance: float = Field(description="Kolmogorov-Smirnov distance of the distributions: 0 = equal, 1 = disjoint")
    quantiles: dict[str, tuple[float, float]]
    strata: dict[str, tuple[float, float]]


class Drift(Stored):
    """New events compared with the training data of a model; `model` is its version, None without a champion.

    A value that cannot be measured is None, and `missing` gives the reasons.
    """

    model: str | None = None
    missing: tuple[str, ...] = ()
    reference: Size | None = None
    window: Size
    unknown_users: float | None = Field(None, description="share of the new events' users")
    unknown_users_events: float | None = Field(None, description="share of the new events with such a user or item")
    unknown_items: float | None = Field(None, description="share of the new events' items not in the model's catalogue")
    unknown_items_events: float | None = Field(None, description="share of the new events with such a user or item")
    popularity: PopularityShift | None = None
    activeness: ActivenessShift | None = None
    targets: int | None = None
    groups: dict[str, dict[str, Any]] = Field({}, description="as in `Challenge`: the model compared with popularity")
    then: dict[str, float] = Field({}, description="NDCG@10 by group when the model was registered")


class Reference(Protocol):
    """The raw events that a model was trained on."""

    def counts(self, column: str) -> pd.Series:
        """Number of events of every id, the most frequent first; of equal numbers, the first in the log."""

    def newest_users(self, number: int) -> pd.Series:
        """The users of the newest events; of equal times, the first in the log."""

    def last(self) -> int:
        """The time of the newest event."""

    def followed_by(self, events: pd.DataFrame) -> Indexed:
        """The sequences of these and of more events, without repetitions; nothing else can be asked afterwards."""


@dataclass(frozen=True)
class EventsInMemory:
    """A `Reference` of a table of events."""

    events: pd.DataFrame

    def counts(self, column: str) -> pd.Series:
        return self.events[column].value_counts()

    def newest_users(self, number: int) -> pd.Series:
        return self.events.nlargest(number, "timestamp", keep="first")["user_id"]

    def last(self) -> int:
        return int(self.events["timestamp"].max())

    def followed_by(self, events: pd.DataFrame) -> Indexed:
        return build_sequences(pd.concat([self.events[EVENT], events[EVENT]], ignore_index=True).drop_duplicates())


def measure_drift(
    model: Recommender, version: str, reference: Reference, window: pd.DataFrame, then: dict[str, float]
) -> Drift:
    """Drift of the raw events `window`, relative to those of the model's training.

    Targets are each user's first event after the end of `reference`, for users with a history. The model is compared
    with popularity in `reference`. A target that the model does not know is a miss; an event that the model's policy on
    seen items never recommends is not a target.
    """
    old_users, old_items = (reference.counts(column) for column in ("user_id", "item_id"))
    activeness = None if old_users.empty or window.empty else _activeness(model, reference, old_users, window)
    groups, targets = _rank(model, reference, window) if activeness else ({}, 0)
    nothing = "no user with a history has an event that is newer than the training data: nothing to rank"
    users, items = old_users.index, model.item_ids.tolist()
    return Drift(
        model=version,
        missing=() if targets else (nothing,),
        reference=Size(events=int(old_users.sum()), users=len(old_users), items=len(old_items)),
        window=size(window),
        unknown_users=_share(~window["user_id"].drop_duplicates().isin(users)),
        unknown_users_events=_share(~window["user_id"].isin(users)),
        unknown_items=_share(~window["item_id"].drop_duplicates().isin(items)),
        unknown_items_events=_share(~window["item_id"].isin(items)),
        popularity=_popularity(old_items, window["item_id"]),
        activeness=activeness,
        targets=targets,
        groups=groups,
        then=then,
    )


def size(events: pd.DataFrame) -> Size:
    """Numbers of events, users and items."""
    return Size(events=len(events), users=events["user_id"].nunique(), items=events["item_id"].nunique())


def divergence(p: Float[np.ndarray, "... I"], q: Float[np.ndarray, " I"]) -> Float[np.ndarray, "..."]:
    """Jensen-Shannon divergence in bits, H((p+q)/2) − (H(p)+H(q))/2, of distributions over I items (Lin, 1991)."""
    return jensenshannon(p, np.broadcast_to(q, p.shape), base=2, axis=-1) ** 2


def _popularity(old: pd.Series, new: pd.Series) -> PopularityShift | None:
    if old.empty or new.empty:
        return None
    table = pd.DataFrame({"old": old, "new": new.value_counts()}).fillna(0.0)
    before, after = table["old"].to_numpy(), table["new"].to_numpy()
    before_shares = before / before.sum()
    drawn = np.random.default_rng(0).multinomial(int(after.sum()), before_shares, _DRAWS)
    varied = len(np.unique(before)) > 1 and len(np.unique(after)) > 1
    return PopularityShift(
        divergence=float(divergence(after / after.sum(), before_shares)),
        by_chance=float(divergence(drawn / after.sum(), before_shares).mean()),
        rank_correlation=float(spearmanr(before, after).statistic) if varied else None,
    )


def _activeness(model: Recommender, old: Reference, known: pd.Series, new: pd.DataFrame) -> ActivenessShift:
    users = (old.newest_users(len(new)), new["user_id"])
    before, now = (of.value_counts().to_numpy(np.int64) for of in users)
    routed = known.reindex(pd.Index(new["user_id"].unique()), fill_value=0).to_numpy(np.int64)
    pairs = zip(*(np.quantile(counts, _QUANTILES).tolist() for counts in (before, now)), strict=True)
    trained = known.to_numpy(np.int64)
    return ActivenessShift(
        distance=float(ks_2samp(before, now).statistic),
        quantiles={f"{q:.0%}": pair for q, pair in zip(_QUANTILES, pairs, strict=True)},
        strata=_strata_shares(model.strata.head_tail, ["tail", "head"], trained, routed)
        | _strata_shares(model.strata.training, model.strata.training.labels(), trained, routed),
    )


def _strata_shares(
    strata: Strata, names: list[str], old: Int[np.ndarray, " U"], new: Int[np.ndarray, " V"]
) -> dict[str, tuple[float, float]]:
    shares = [np.bincount(strata.assign(x), minlength=len(strata)) / len(x) for x in (old, new)]
    return {name: (float(a), float(b)) for name, a, b in zip(names, *shares, strict=False)}


def _rank(model: Recommender, reference: Reference, window: pd.DataFrame) -> tuple[dict[str, dict[str, Any]], int]:
    """The groups of the comparison of the model with popularity, and the number of targets."""
    dataset = first_new_events(model, reference, window)
    if len(dataset.test_users) == 0:
        return {}, 0
    popular = PopularityScorer(count_popularity(dataset))
    return measured(run_challenge(model, popular, dataset).groups), len(dataset.test_users)


def first_new_events(model: Recommender, reference: Reference, window: pd.DataFrame) -> Dataset:
    """The dataset whose training part is `reference`, and whose test target is each user's first event in `window`
    after its end, for users with a history, with the strata of the model and its policy on seen items."""
    end = reference.last()
    sequences, _, item_ids = reference.followed_by(window)
    seen = np.zeros(sequences.n_users, np.int64)
    for users, block in sequences.blocks():
        before = np.concatenate([[0], np.cumsum(block.timestamps <= end)])
        seen[users] = before[block.offsets[1:]] - before[block.offsets[:-1]]
    split = Split(
        train_end=seen,
        valid_at=np.full(sequences.n_users, -1),
        test_at=np.where((seen > 0) & (seen < sequences.lengths), seen, -1),
        test_from=seen,
        exclude_seen=False,
    )
    if model.exclude_seen:
        split = without_repeats(sequences, split)
    return Dataset(sequences, split, model.strata, pd.DataFrame({"item_id": item_ids}))


def _share(mask: pd.Series) -> float | None:
    return None if mask.empty else float(mask.mean())
