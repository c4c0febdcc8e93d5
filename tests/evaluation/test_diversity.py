"""Intra-list diversity by categories: by hand, by a loop, and as RecTools has it."""

from itertools import combinations

import numpy as np
import pytest

from pinet_kedro.evaluation import diversity
from pinet_kedro.evaluation.diversity import category_diversity
from prepared import as_dataset

CATEGORIES = [["a"], ["a", "b"], ["b", "c"], ["a", "b", "c"], ["d"], []]  # of items 1 to 6


def matrix(categories):
    return as_dataset(None, None, len(categories), categories=categories).categories


def by_loop(top, categories):
    """The definition, pair by pair."""
    found = []
    for items in top:
        sets = [set(categories[item - 1]) for item in items if item and categories[item - 1]]
        distances = [1 - len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
        found.append(np.mean(distances) if distances else np.nan)
    return np.array(found)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, 1], 0),  # the same categories
        ([1, 5], 1),  # none in common
        ([1, 2], 1 / 2),
        ([2, 3], 2 / 3),
        ([1, 2, 4], (1 / 2 + 2 / 3 + 1 / 3) / 3),
        ([1, 2, 6], 1 / 2),  # an item without categories is left out
        ([1, 2, 0], 1 / 2),  # a list of two items
        ([1, 6, 0], np.nan),  # no two items with categories
        ([0, 0, 0], np.nan),
    ],
)
def test_diversity_by_hand(items, expected):
    np.testing.assert_allclose(category_diversity(np.array([items]), matrix(CATEGORIES)), [expected])


def test_blocks_of_users_give_what_a_loop_gives(monkeypatch):
    rng = np.random.default_rng(3)
    categories = [sorted(rng.choice(list("abcdefg"), rng.integers(0, 4), replace=False)) for _ in range(40)]
    top = rng.integers(0, 41, (57, 10))
    expected = by_loop(top, categories)
    for pairs in (45, 450, 2**20):
        monkeypatch.setattr(diversity, "_PAIRS", pairs)
        np.testing.assert_allclose(category_diversity(top, matrix(categories)), expected)


def test_recommendations_of_rectools():
    """RecTools 0.19: `IntraListDiversity(k=10)` with a `PairwiseDistanceCalculator` of Jaccard distances."""
    top = np.array([[1, 2, 3, 4, 5], [4, 2, 1, 0, 0], [1, 5, 0, 0, 0], [2, 3, 5, 4, 0]])
    expected = [0.75, 0.5, 1.0, 0.7222222222222222]
    np.testing.assert_allclose(category_diversity(top, matrix(CATEGORIES)), expected, rtol=1e-12)


def test_a_category_that_is_listed_twice_counts_once():
    np.testing.assert_allclose(category_diversity(np.array([[1, 2]]), matrix([["a", "a"], ["a"]])), [0])
