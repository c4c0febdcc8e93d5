"""Beyond accuracy: how popular, novel and varied the first ten items are, and how accurate a model is on rare targets.

A measure of single lists is one more entry of `list_measures`. Measures of all lists of a group of users together are
those of `catalogue_measures`; they have no interval, because a resample of users has fewer distinct ones and would
cover less.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from pinet_kedro.dataset import Dataset
from pinet_kedro.evaluation.diversity import category_diversity
from pinet_kedro.evaluation.intervals import mean_differences
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import Ranks, lists_of

LONG_TAIL = 0.2  # share of the training events
COLD = 5  # an item with fewer training events is cold
DIVERSITY = "category_diversity_at_10"  # where items have categories
CATALOGUE_MEASURES = ("coverage_at_10", "gini_at_10")


@dataclass(frozen=True)
class ItemFacts:
    """Training events of items 1..I, their categories if there are any (`Dataset.categories`), and `bound`: an item
    with at most so many events is a long-tail item.

    The long-tail items are the least popular ones that together have 20 % of the training events, as the group T of
    Abdollahpouri et al. (UMAP 2021, arXiv 2103.06364); all others are the popular ones. Items with equally many events
    are not separated, so the share is the nearest possible one.
    """

    events: Int[np.ndarray, " I"]
    bound: int
    categories: sparse.csr_array | None = None

    @property
    def long_tail(self) -> Bool[np.ndarray, " I"]:
        return self.events <= self.bound

    def groups(self) -> dict[str, Bool[np.ndarray, " I"]]:
        """Masks of the groups of items whose targets have metrics of their own; long-tail items may be cold, too."""
        return {"popular": ~self.long_tail, "long_tail": self.long_tail, "cold": self.events < COLD}

    def described(self) -> dict[str, dict[str, float]]:
        """The long-tail items and the cold ones in numbers."""
        most = {"long_tail": self.bound, "cold": COLD - 1}
        return {
            f"{name}_items": {
                "items": int(mask.sum()),
                "most_training_events": most[name],
                "share_of_training_events": float(self.events[mask].sum() / self.events.sum()),
            }
            for name, mask in self.groups().items()
            if name in most
        }


def item_facts(dataset: Dataset) -> ItemFacts:
    """The items of a dataset: events in the training part, which of them are the long tail, and categories."""
    events = dataset.split.item_counts(dataset.sequences, dataset.n_items)
    values, items = np.unique(np.append(events, 0), return_counts=True)  # 0: the tail may be empty
    share = np.cumsum(values * items) / events.sum()
    return ItemFacts(events, int(values[np.argmin(np.abs(share - LONG_TAIL))]), dataset.categories)


def beyond_accuracy(
    by_model: Mapping[str, Ranks], users: Int[np.ndarray, " U"], dataset: Dataset
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measures of every model by group (all, head, tail), and the differences of PIN and the backbone from the base.

    A measure is None, or a difference is, where no user of the group has it. Differences are paired, with an interval
    (`mean_differences`) where the measure is a mean over users. `targets_…_items` are the numbers of users whose target
    is such an item.
    """
    items, target = item_facts(dataset), targets(dataset, users)
    measured = {name: user_measures(of, target, items) for name, of in by_model.items()}
    models: dict[str, Any] = {name: {} for name in by_model}
    differences: dict[str, Any] = {name: {} for name in ("pin", "backbone") if name in by_model}
    named = dataset.strata.groups(dataset.activeness[users])
    for group, mask in ((name, named[name]) for name in ("all", "head", "tail") if named[name].any()):
        within = {name: np.stack([value[mask] for value in of.values()]) for name, of in measured.items()}
        counts = {f"targets_{name}_items": int(of[target[mask]].sum()) for name, of in items.groups().items()}
        for name, of in by_model.items():
            means = dict(zip(measured[name], map(_mean, within[name]), strict=True))
            models[name][group] = catalogue_measures(lists_of(of)[mask], dataset.n_items) | means | counts
        found = mean_differences([(within[name], within["base"]) for name in differences])
        for (name, by_group), rows in zip(differences.items(), found, strict=True):
            ours, base = models[name][group], models["base"][group]
            by_group[group] = {
                measure: {"difference": ours[measure] - base[measure], "low": None, "high": None}
                for measure in CATALOGUE_MEASURES
            } | dict(zip(measured[name], rows, strict=True))
    return models, differences


def targets(dataset: Dataset, users: Int[np.ndarray, " U"]) -> Int[np.ndarray, " U"]:
    """Columns (0..I-1) of the test targets of these users."""
    return dataset.sequences.items[dataset.sequences.offsets[users] + dataset.split.test_at[users]] - 1


def user_measures(ranks: Ranks, target: Int[np.ndarray, " U"], items: ItemFacts) -> dict[str, Float[np.ndarray, " U"]]:
    """Every measure that is a mean over users; NaN for users for whom it is undefined.

    These are `list_measures`, and NDCG@10 and HR@10 of the users whose target is a popular item (`…_popular_items`), a
    long-tail item (`…_long_tail_items`) or a cold one, with fewer than five training events (`…_cold_items`).
    """
    accuracy = user_metrics(ranks)
    on_items = {
        f"{metric}_{name}_items": np.where(mask[target], accuracy[metric], np.nan)
        for name, mask in items.groups().items()
        for metric in ("ndcg_at_10", "hr_at_10")
    }
    return list_measures(lists_of(ranks), items) | on_items


def list_measures(top: Int[np.ndarray, "U K"], items: ItemFacts) -> dict[str, Float[np.ndarray, " U"]]:
    """Means over the items of each list, with pop_j training events of item j; of items with categories also the
    `category_diversity`.

    - novelty: −log₂ p_j in bits, p_j = pop_j / Σ pop, the self-information of Zhou et al. (PNAS 107, 2010) with events
      in place of users; an item without training events counts as one with a single event;
    - popularity: pop_j in events, the average recommendation popularity (ARP) of Yin et al. (PVLDB 5, 2012);
    - long-tail share: 1 for a long-tail item, else 0, the average percentage of long-tail items (APLT) of Abdollahpouri
      et al. (FLAIRS 2019, arXiv 1901.07555).
    """
    shown, column = top > 0, np.maximum(top, 1) - 1
    length = shown.sum(1)
    of_items = {
        "novelty_at_10": -np.log2(np.maximum(items.events, 1) / items.events.sum()),
        "popularity_at_10": items.events.astype(float),
        "long_tail_share_at_10": items.long_tail.astype(float),
    }
    found = {name: (value[column] * shown).sum(1) / length for name, value in of_items.items()}
    return found if items.categories is None else found | {DIVERSITY: category_diversity(top, items.categories)}


def catalogue_measures(top: Int[np.ndarray, "U K"], n_items: int) -> dict[str, float]:
    """Coverage@10 and Gini@10 of all lists together. Both depend on the number of users: compare within one group.

    - coverage: share of the I items that are in at least one list (Herlocker et al., ACM TOIS 22, 2004);
    - Gini = Σ_j (2j − I − 1) e_(j) / (I Σ e), e_(1) ≤ … ≤ e_(I) the number of lists that an item is in: 0 if all items
      are recommended equally often, near 1 if a few items fill all lists (Shani and Gunawardana, Recommender Systems
      Handbook, 2011, with I in place of I − 1, as in RecBole).
    """
    exposure = np.sort(_exposure(top, n_items))
    weights = 2 * np.arange(1, n_items + 1) - n_items - 1
    return {
        "coverage_at_10": coverage(top, n_items),
        "gini_at_10": float(weights @ exposure / (n_items * exposure.sum())),
    }


def coverage(top: Int[np.ndarray, "U K"], n_items: int) -> float:
    """Coverage of a catalogue. Items beyond it (numbers above `n_items`) take places in the lists but do not count."""
    return float((_exposure(top, n_items) > 0).mean())


def _mean(values: Float[np.ndarray, " U"]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _exposure(top: Int[np.ndarray, "U K"], n_items: int) -> Int[np.ndarray, " I"]:
    return np.bincount(top.ravel(), minlength=n_items + 1)[1 : n_items + 1]
