"""Strata: intervals of numbers of events, fitted once and then fixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pinet_kedro.activeness import Strata, Stratification, fit_strata
from pinet_kedro.errors import InputError

counts = st.lists(st.integers(1, 30), min_size=2, max_size=80).map(np.array).filter(lambda a: len(np.unique(a)) > 1)


def long_tail(users=5000, seed=0):
    return (5 * (1 + np.random.default_rng(seed).pareto(1.2, users))).astype(int)


@given(activeness=counts, strata=st.integers(2, 8))
def test_equally_active_users_are_never_split_and_more_active_never_lower(activeness, strata):
    fitted = fit_strata(activeness, Stratification(strata=strata))
    for which in (fitted.training, fitted.head_tail, fitted.quintiles):
        assigned = which.assign(activeness)
        for n in np.unique(activeness):
            assert len(np.unique(assigned[activeness == n])) == 1
        assert (np.diff(assigned[np.argsort(activeness)]) >= 0).all()


@given(activeness=counts, strata=st.integers(2, 8))
def test_fitted_strata_are_not_empty_and_as_many_as_possible(activeness, strata):
    fitted = fit_strata(activeness, Stratification(strata=strata)).training
    assert len(fitted) == min(strata, len(np.unique(activeness)))
    assert (np.bincount(fitted.assign(activeness), minlength=len(fitted)) > 0).all()


@given(activeness=counts, seed=st.integers(0, 9))
def test_order_of_users_does_not_matter(activeness, seed):
    shuffled = np.random.default_rng(seed).permutation(activeness)
    assert fit_strata(activeness, Stratification()) == fit_strata(shuffled, Stratification())


def test_thresholds_assign_users_never_seen():
    strata = Strata(thresholds=(5, 12))
    assert strata.assign(np.array([0, 4, 5, 11, 12, 10_000])).tolist() == [0, 0, 1, 1, 2, 2]
    assert len(strata) == 3


def test_labels_are_the_intervals():
    assert Strata(thresholds=(5, 6, 12)).labels() == ["0–4 events", "5 events", "6–11 events", "12+ events"]


def test_quantiles_have_equal_shares_if_counts_are_distinct():
    fitted = fit_strata(np.arange(1, 101), Stratification())
    assert fitted.training.thresholds == (21, 41, 61, 81)
    assert fitted.quintiles.thresholds == (21, 41, 61, 81)
    assert fitted.head_tail.thresholds == (81,)


def test_quantile_shares_are_as_close_to_the_target_as_ties_allow():
    activeness = long_tail()
    fitted = fit_strata(activeness, Stratification()).training
    values = np.unique(activeness)
    below = (activeness[:, None] < values).mean(0)
    for target, threshold in zip((0.2, 0.4, 0.6, 0.8), fitted.thresholds, strict=True):
        nearest = np.abs(below - target).min()
        assert abs((activeness < threshold).mean() - target) == pytest.approx(nearest)


@pytest.mark.parametrize("head_share", [0.1, 0.2, 0.5])
def test_pareto_trains_on_tail_and_head(head_share):
    activeness = np.random.default_rng(1).permutation(np.arange(1000))
    fitted = fit_strata(activeness, Stratification(rule="pareto", head_share=head_share))
    assert fitted.training == fitted.head_tail
    assert fitted.training.assign(activeness).mean() == pytest.approx(head_share)


def test_explicit_thresholds_are_taken_as_they_are():
    fitted = fit_strata(np.arange(1, 101), Stratification(rule="thresholds", thresholds=(10, 50)))
    assert fitted.training.thresholds == (10, 50)
    assert fitted.quintiles.thresholds == (21, 41, 61, 81)


@pytest.mark.parametrize("thresholds", [(), (5, 5), (9, 3)])
def test_explicit_thresholds_must_be_given_and_increase(thresholds):
    with pytest.raises(ValidationError, match="must be given and increase"):
        Stratification(rule="thresholds", thresholds=thresholds)


@pytest.mark.parametrize(("thresholds", "empty"), [((1, 5), 1), ((5, 6, 200), 4), ((5, 30, 31), 3)])
def test_an_explicit_threshold_that_leaves_a_stratum_empty_is_an_input_error(thresholds, empty):
    activeness = np.array([2, 3, 5, 8, 13, 21, 34])
    with pytest.raises(InputError, match=f"leaves stratum {empty} without users"):
        fit_strata(activeness, Stratification(rule="thresholds", thresholds=thresholds))


@pytest.mark.parametrize("activeness", [[7] * 20, [3], []])
def test_equally_active_users_have_no_tail(activeness):
    with pytest.raises(InputError, match="same activeness"):
        fit_strata(np.array(activeness, int), Stratification())


def test_fewer_distinct_counts_than_strata_give_fewer_strata():
    fitted = fit_strata(np.array([3] * 50 + [4] * 5 + [9]), Stratification(strata=5))
    assert fitted.training.thresholds == (4, 9)
    assert fitted.head_tail.thresholds == (4,)


def test_groups_cover_every_user_once():
    activeness = long_tail()
    groups = fit_strata(activeness, Stratification()).groups(activeness)
    assert list(groups) == ["all", "head", "tail", "q1", "q2", "q3", "q4", "q5"]
    assert groups["all"].all()
    assert (groups["head"] ^ groups["tail"]).all()
    assert (sum(groups[f"q{q}"].astype(int) for q in range(1, 6)) == 1).all()
    assert activeness[groups["head"]].min() > activeness[groups["tail"]].max()
    assert activeness[groups["q5"]].min() > activeness[groups["q1"]].max()
