from dataclasses import replace

import numpy as np
import pytest

from pinet_kedro.evaluation.ranks import Ranks
from pinet_kedro.fitting import choice
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.plugins.config import PluginTraining

CONFIG = PluginTraining(folds=2, factors=None, memory_search=None)


@pytest.fixture
def choose(planted_world, joint_backbone):
    """The choice between the joint backbone and another one, the joint one again by default."""
    w = planted_world
    scorers = build_scorers(w.dataset, w.popularity, CONFIG)

    def chosen(deconfounded=joint_backbone, wanted="auto"):
        return choice.choose_backbone((joint_backbone, deconfounded), w.dataset, scorers, CONFIG, wanted)

    return chosen


def test_an_equal_backbone_by_aggregation_is_taken(choose):
    made = choose()
    assert (made.backbone, made.reason) == ("deconfounded", "not_worse")
    assert made.gains["all"]["relative"] == 0.0


def test_without_aggregation_the_joint_backbone_is_the_only_one(choose):
    assert choose(None).model_dump() == {"backbone": "joint", "reason": "no_aggregation", "gains": {}}
    assert choose(None, "deconfounded").backbone == "joint"


@pytest.mark.parametrize("wanted", ["deconfounded", "joint"])
def test_a_configured_backbone_is_taken_unmeasured(choose, wanted):
    assert choose(wanted=wanted).model_dump() == {"backbone": wanted, "reason": "configured", "gains": {}}


def test_a_backbone_by_aggregation_that_loses_in_one_group_is_not_taken(choose, planted_world, monkeypatch):
    """One group that loses is enough: here the head, whose ranks fall out of the first ten."""
    w = planted_world
    head = w.strata.groups(w.dataset.activeness[w.users])["head"]
    good = Ranks(np.ones(len(w.users)), np.full(len(w.users), 60))
    bad = Ranks(np.where(head, 40.0, 1.0), good.candidates)
    for ours, expected in ((good, "deconfounded"), (bad, "joint")):
        monkeypatch.setattr(choice, "cross_fitted_ranks", lambda *_, ours=ours: [ours, good])
        assert choose().backbone == expected
    assert choose().gains["head"]["high"] < 0
    assert choose().gains["tail"]["relative"] == 0.0


def test_what_cannot_be_measured_is_said(choose, planted_world, monkeypatch):
    nothing = Ranks(np.full(len(planted_world.users), 50.0), np.full(len(planted_world.users), 60))
    monkeypatch.setattr(choice, "cross_fitted_ranks", lambda *_: [nothing, nothing])
    assert choose().reason == "not_measured"


def test_plugins_of_too_few_targets_are_not_compared(planted_world, joint_backbone, caplog):
    """Nor is it said that none are fitted: those of the model are fitted on all targets."""
    w = planted_world
    valid_at = np.where(np.arange(len(w.split.valid_at)) < 3, w.split.valid_at, -1)
    few = replace(w.dataset, split=replace(w.split, valid_at=valid_at))
    made = choice.choose_backbone(
        (joint_backbone, joint_backbone), few, build_scorers(few, w.popularity, CONFIG), CONFIG, "auto"
    )
    assert made.model_dump() == {"backbone": "deconfounded", "reason": "not_measured", "gains": {}}
    assert not caplog.records


def test_a_loss_of_a_few_hits_is_not_shown(choose, planted_world, monkeypatch):
    """Head users lose, and tail users gain more, so that all together do not lose."""
    w = planted_world
    in_head = w.strata.groups(w.dataset.activeness[w.users])["head"]
    head, tail = np.flatnonzero(in_head), np.flatnonzero(~in_head)
    joint, other = (Ranks(np.full(len(w.users), 40.0), np.full(len(w.users), 60)) for _ in range(2))
    joint.rank[head[:9]], other.rank[head[:9]] = 1.0, 9.0
    joint.rank[tail[:50]], other.rank[tail[:50]] = 9.0, 1.0
    monkeypatch.setattr(choice, "cross_fitted_ranks", lambda *_: [other, joint])
    made = choose()
    assert (made.gains["head"]["high"], made.reason) == (None, "not_worse")
    joint.rank[head[9]], other.rank[head[9]] = 1.0, 9.0
    assert choose().reason == "worse"
