"""Ranks compared with loops, metrics with values by hand, intervals with a planted truth."""

import math

import numpy as np
import pytest
import torch

from pinet_kedro import evidence
from pinet_kedro.evaluation import intervals
from pinet_kedro.evaluation.intervals import mean_differences, relative_gain, relative_gains
from pinet_kedro.evaluation.metrics import metrics_by_group, user_metrics
from pinet_kedro.evaluation.ranks import Ranks, target_ranks
from pinet_kedro.interactions.sequences import Sequences

ITEMS = 12


class TableScorer:
    """Scores from a table, by the newest item of the history; coarse, so that ties abound."""

    n_items = ITEMS
    history_length = 4

    def __init__(self, seed=0):
        self.table = np.random.default_rng(seed).integers(0, 6, (ITEMS + 1, ITEMS)).astype(np.float32)
        self.histories = []

    def scores(self, histories, lengths):
        self.histories.extend(histories.tolist())
        return torch.from_numpy(self.table[histories[:, -1].numpy()].copy())


def sequences_of(histories):
    return Sequences(
        items=np.concatenate(histories).astype(np.int32),
        timestamps=np.zeros(sum(map(len, histories)), np.int64),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )


def ranks_of(scorer, histories, target_at, exclude_seen=True):
    users = np.arange(len(histories))
    return target_ranks(scorer, sequences_of(histories), users, np.asarray(target_at), exclude_seen)


def naive_rank(scores, not_offered, target):
    candidates = [j for j in range(1, ITEMS + 1) if j not in not_offered]
    rank = 1.0
    for j in candidates:
        if j != target and scores[j - 1] >= scores[target - 1]:
            rank += 1 if scores[j - 1] > scores[target - 1] else 0.5
    return rank, len(candidates)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("block", [1, 7, 1024])
def test_ranks_equal_a_loop(monkeypatch, block, exclude_seen):
    monkeypatch.setattr(evidence, "_BLOCK_USERS", block)
    rng = np.random.default_rng(1)
    histories = [rng.integers(1, ITEMS + 1, rng.integers(2, 10)) for _ in range(200)]
    asked = [(history, rng.integers(1, len(history))) for history in histories]
    if exclude_seen:
        asked = [(history, at) for history, at in asked if history[at] not in history[:at]]
    histories, target_at = zip(*asked, strict=True)
    scorer = TableScorer()
    got = ranks_of(scorer, histories, target_at, exclude_seen)
    for u, (history, at) in enumerate(asked):
        not_offered = set(history[:at].tolist()) if exclude_seen else set()
        expected = naive_rank(scorer.table[history[at - 1]], not_offered, history[at])
        assert (got.rank[u], got.candidates[u]) == expected


def test_ranks_have_the_order_of_the_given_users():
    histories = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    scorer = TableScorer()
    whole = ranks_of(scorer, histories, [2, 1, 3])
    part = target_ranks(scorer, sequences_of(histories), np.array([2, 0]), np.array([3, 2]), exclude_seen=True)
    np.testing.assert_array_equal(part.rank, whole.rank[[2, 0]])


def test_the_scorer_sees_only_events_before_the_target():
    scorer = TableScorer()
    ranks_of(scorer, [[1, 2, 3, 4, 5, 6, 7], [8, 9, 10]], [5, 1])
    assert sorted(scorer.histories) == [[0, 0, 0, 8], [2, 3, 4, 5]]


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("block", [7, 1024])
def test_lists_are_the_best_candidates_in_order(monkeypatch, block, exclude_seen):
    """Of 12 items less those of the history: fewer than ten are left where the history is long."""
    monkeypatch.setattr(evidence, "_BLOCK_USERS", block)
    rng = np.random.default_rng(3)
    histories = [rng.permutation(np.arange(1, ITEMS + 1))[: rng.integers(2, 10)] for _ in range(60)]
    at = np.array([len(history) - 1 for history in histories])
    scorer = TableScorer()
    scorer.table = rng.permutation(scorer.table.size).reshape(scorer.table.shape).astype(np.float32)  # no ties
    users = np.arange(len(histories))
    got = target_ranks(scorer, sequences_of(histories), users, at, exclude_seen, top=True)
    assert got.top.dtype == np.int32
    for history, top, rank in zip(histories, got.top, got.rank, strict=True):
        known = history[:-1]
        candidates = [j for j in range(1, ITEMS + 1) if not exclude_seen or j not in known]
        best = sorted(candidates, key=lambda j: -scorer.table[known[-1]][j - 1])[:10]
        assert top.tolist() == best + [0] * (10 - len(best))
        assert (history[-1] in best) == (rank <= 10)
    assert (got.top == 0).any() == exclude_seen


def test_lists_are_kept_only_where_they_are_asked_for():
    assert ranks_of(TableScorer(), [[1, 2, 3]], [2]).top is None


class ConstantScorer(TableScorer):
    def scores(self, histories, lengths):
        return torch.ones(len(histories), ITEMS)


def test_ties_count_half():
    got = ranks_of(ConstantScorer(), [[1, 2]], [1])
    assert got.candidates.tolist() == [11]
    assert got.rank.tolist() == [6.0]  # the middle of 11


def test_a_repeated_target_is_ranked_among_all_items_if_seen_items_are_candidates():
    got = ranks_of(ConstantScorer(), [[3, 4, 5, 3]], [3], exclude_seen=False)
    assert got.candidates.tolist() == [ITEMS]
    assert got.rank.tolist() == [6.5]


def test_a_target_that_is_never_recommended_is_refused():
    with pytest.raises(ValueError, match="which exclude_seen never recommends"):
        ranks_of(ConstantScorer(), [[1, 2], [3, 4, 5, 3]], [1, 3])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_score_that_is_not_finite_raises(bad):
    scorer = TableScorer()
    scorer.table[2, 5] = bad
    with pytest.raises(FloatingPointError, match="TableScorer gave a score that is not finite"):
        ranks_of(scorer, [[1, 2, 3]], [2])


def test_pinned_metrics():
    metrics = user_metrics(Ranks(np.array([1, 2, 3.5, 10, 10.5, 101]), np.full(6, 101)))
    ndcg = [1, 0.6309297536, 0.4608450, 0.2890648263, 0, 0]
    np.testing.assert_allclose(metrics["ndcg_at_10"], ndcg, rtol=1e-6)
    np.testing.assert_array_equal(metrics["hr_at_10"], [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(metrics["hr_at_5"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(metrics["hr_at_20"], [1, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(metrics["ndcg_at_5"], [*ndcg[:3], 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics["ndcg_at_20"], [*ndcg[:4], 0.2838037226, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics["mrr_at_5"], [1, 0.5, 2 / 7, 0, 0, 0])
    np.testing.assert_allclose(metrics["mrr_at_10"], [1, 0.5, 2 / 7, 0.1, 0, 0])
    np.testing.assert_allclose(metrics["mrr_at_20"], [1, 0.5, 2 / 7, 0.1, 2 / 21, 0])
    np.testing.assert_allclose(metrics["mrr"], [1, 0.5, 2 / 7, 0.1, 2 / 21, 1 / 101])
    np.testing.assert_allclose(metrics["auc"], [1, 0.99, 0.975, 0.91, 0.905, 0])


def of_a_list(relevant, k):
    """NDCG@k, HR@k and MRR@k of a ranked list of booleans, as they are defined for any number of relevant items."""
    gains = [1 / math.log2(place + 1) for place, hit in enumerate(relevant[:k], 1) if hit]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(sum(relevant), k) + 1))
    first = next((place for place, hit in enumerate(relevant[:k], 1) if hit), math.inf)
    return {"ndcg": sum(gains) / ideal, "hr": float(first <= k), "mrr": 1 / first}


@pytest.mark.parametrize("k", [5, 10, 20])
def test_metrics_of_the_rank_are_those_of_the_list(k):
    """RecTools 0.19 gives the same: `NDCG(k, divide_by_achievable=True)`, `HitRate(k)`, `MRR(k)`."""
    found = user_metrics(Ranks(np.arange(1.0, 31.0), np.full(30, 30)))
    for rank in range(1, 31):
        expected = of_a_list([place == rank for place in range(1, 31)], k)
        assert {name: found[f"{name}_at_{k}"][rank - 1] for name in expected} == pytest.approx(expected)


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(2)
    histories = [rng.permutation(np.arange(1, ITEMS + 1))[:4] for _ in range(50)]
    scorer = TableScorer()
    auc = user_metrics(ranks_of(scorer, histories, [3] * 50))["auc"]
    for history, value in zip(histories, auc, strict=True):
        scores = scorer.table[history[2]]
        rest = [j for j in range(1, ITEMS + 1) if j not in history]
        target = scores[history[3] - 1]
        pairs = [1.0 if target > scores[j - 1] else 0.5 if target == scores[j - 1] else 0.0 for j in rest]
        assert value == pytest.approx(np.mean(pairs))


def test_target_alone_is_first():
    assert user_metrics(Ranks(np.array([1.0]), np.array([1])))["auc"].tolist() == [1]


def test_groups_have_their_own_means_and_empty_groups_are_left_out():
    table = metrics_by_group(
        Ranks(np.array([1.0, 2.0, 20.0]), np.full(3, 100)),
        {"all": np.ones(3, bool), "head": np.array([True, False, False]), "none": np.zeros(3, bool)},
    )
    assert list(table) == ["all", "head"]
    assert table["head"].pop("users") == 1
    assert set(table["head"].values()) == {1.0}
    assert table["all"]["users"] == 3
    assert table["all"]["hr_at_10"] == pytest.approx(2 / 3)


def test_identical_models_gain_exactly_nothing():
    values = np.random.default_rng(3).random(100)
    assert relative_gain(values, values.copy()) == {"relative": 0.0, "low": 0.0, "high": 0.0}


def test_constant_factor_has_no_width():
    values = np.random.default_rng(4).random(100)
    gain = relative_gain(1.25 * values, values)
    assert gain["relative"] == pytest.approx(0.25)
    assert gain["low"] == pytest.approx(0.25)
    assert gain["high"] == pytest.approx(0.25)


def test_a_gain_of_a_few_hits_has_no_interval():
    """Resamples of one hit are all alike: without this rule any loss of that one user is shown beyond doubt."""
    model, reference = np.zeros((2, 400))
    model[0], reference[0] = 0.5, 1.0
    assert relative_gain(model, reference) == {"relative": -0.5, "low": None, "high": None}
    assert relative_gain(model, reference, least=1)["high"] == -0.5
    model[1:5], reference[5:9] = 0.5, 1.0  # nine users have a hit with one of the two
    assert relative_gain(model, reference)["high"] is None
    model[9] = 0.5
    assert relative_gain(model, reference)["high"] is not None
    assert relative_gain(np.stack([model, 0 * model]), np.stack([reference] * 2))["high"] is not None  # of any seed


def planted(rng, users):
    """Two models of the same users, the first truly 20 % better; what is hard for one is hard for the other."""
    reference = rng.gamma(0.5, 1, users)
    return reference * rng.normal(1.2, 0.3, users), reference


def test_the_interval_has_its_nominal_coverage(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    rng = np.random.default_rng(5)
    found = [relative_gain(*planted(rng, 200), seed=trial) for trial in range(200)]
    covered = np.mean([gain["low"] <= 0.2 <= gain["high"] for gain in found])
    assert 0.89 <= covered <= 0.99
    assert all(gain["low"] < gain["relative"] < gain["high"] for gain in found)


def test_paired_interval_is_narrower_than_unpaired():
    rng = np.random.default_rng(6)
    model, reference = planted(rng, 500)
    paired, unpaired = relative_gain(model, reference), relative_gain(rng.permutation(model), reference)
    assert paired["relative"] == pytest.approx(unpaired["relative"])
    assert paired["high"] - paired["low"] < 0.6 * (unpaired["high"] - unpaired["low"])


def test_interval_is_as_wide_as_the_normal_one_of_a_ratio():
    model, reference = planted(np.random.default_rng(9), 4000)
    ratio = model.mean() / reference.mean()
    error = np.std(model - ratio * reference) / reference.mean() / 4000**0.5
    gain = relative_gain(model, reference)
    assert gain["high"] - gain["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_interval_narrows_with_the_root_of_users():
    rng = np.random.default_rng(7)
    widths = []
    for users in (400, 6400):
        gain = relative_gain(*planted(rng, users))
        widths.append(gain["high"] - gain["low"])
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    model, reference = planted(np.random.default_rng(8), 300)
    assert relative_gain(model, reference) == relative_gain(model, reference)
    assert relative_gain(model, reference, seed=1) != relative_gain(model, reference, seed=2)


def test_several_pairs_have_the_same_intervals_as_each_alone():
    rng = np.random.default_rng(0)
    reference, *models = rng.random((4, 2, 300))
    pairs = [(models[0], reference), (models[1], reference), (reference, models[2]), (models[2], 0 * reference)]
    assert relative_gains(pairs) == [relative_gain(*pair) for pair in pairs]
    assert relative_gains([]) == []


@pytest.mark.parametrize("values", [np.zeros(5), np.empty(0)])
def test_the_gain_over_zero_is_none(values):
    assert relative_gain(values + 1, values) == {"relative": None, "low": None, "high": None}


def test_the_interval_of_a_difference_is_as_wide_as_the_normal_one():
    model, reference = planted(np.random.default_rng(9), 4000)
    [[found]] = mean_differences([(model[None], reference[None])])
    assert found["difference"] == pytest.approx(model.mean() - reference.mean())
    error = np.std(model - reference) / 4000**0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert found["low"] < found["difference"] < found["high"]


def test_a_difference_is_over_the_users_who_have_it():
    """As if the others were not there; the resamples differ, so the intervals are equal but for chance."""
    rng = np.random.default_rng(1)
    model, reference = rng.random((2, 2, 3000))
    half = np.arange(3000) % 2 == 0
    some = np.where(half, model, np.nan)
    none = np.full_like(model, np.nan)
    found, nothing = mean_differences([(some, reference), (none, reference)])
    [alone] = mean_differences([(model[:, half], reference[:, half])])
    for ours, expected in zip(found, alone, strict=True):
        assert ours["difference"] == pytest.approx(expected["difference"])
        assert ours["high"] - ours["low"] == pytest.approx(expected["high"] - expected["low"], rel=0.1)
    assert nothing == [{"difference": None, "low": None, "high": None}] * 2
    assert mean_differences([]) == []


def test_an_interval_over_seeds_is_wider_where_seeds_disagree():
    rng = np.random.default_rng(0)
    reference = rng.random((4, 300)) + 1
    agreeing = reference * 1.1
    disagreeing = reference * np.array([0.9, 1.0, 1.2, 1.3])[:, None]
    tight, wide = relative_gain(agreeing, reference), relative_gain(disagreeing, reference)
    assert tight["high"] - tight["low"] < 1e-9
    assert wide["high"] - wide["low"] > 0.1
    assert wide["low"] < wide["relative"] < wide["high"]
