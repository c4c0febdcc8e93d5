"""The two models of a version: what it serves, and what is judged in its place."""

import contextlib
import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.fitting.refit import before_test
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.promotion import promote as promotion
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.promotion.promote import Newest
from pinet_kedro.recommender import new_recommender
from pinet_kedro.registry.loading import VersionModels, load_models, load_version
from pinet_kedro.registry.registration import _tags, register_model
from pinet_kedro.tracking.config import Tracking

SERVED, JUDGED = "served", "judged"
EARLY, LATE = 10**18, 2 * 10**18
VALID = Gate(name="validation", passed=True, measured="2 suites passed", asked="all")


@pytest.mark.parametrize(
    ("served_until", "judged_until", "since", "unseen", "compared"),
    [
        (EARLY, EARLY, LATE, SERVED, SERVED),
        (LATE, EARLY, LATE, JUDGED, JUDGED),
        (LATE, LATE, LATE, None, JUDGED),
        (None, EARLY, LATE, JUDGED, JUDGED),
        (None, None, LATE, None, JUDGED),
    ],
)
def test_a_model_that_has_learnt_the_targets_is_not_compared_if_another_has_not(
    served_until, judged_until, since, unseen, compared
):
    models = VersionModels(SERVED, JUDGED, served_until, judged_until)
    assert models.unseen(since) == unseen
    assert models.compared(since) == compared


def test_a_version_without_a_refit_is_compared_as_it_is():
    assert VersionModels(SERVED).compared(LATE) == SERVED
    assert VersionModels(SERVED, served_until=LATE).unseen(LATE) is None


@pytest.fixture(scope="module")
def refitted(planted_world, joint_backbone, tmp_path_factory):
    """A registry with a version whose judged model is untrained, so that the two can be told apart."""
    w, folder = planted_world, tmp_path_factory.mktemp("registry")
    served = new_recommender(joint_backbone, w.dataset)
    judged = replace(served, backbone=_zeros_like(joint_backbone))
    config = Tracking(uri=f"sqlite:///{folder / 'mlflow.db'}")
    reading = {"models": {"pin": {}}, "comparisons": {"pin_vs_base": {}}}
    newest = {"training": 1, "before_test": EARLY, "all": LATE}
    data = {"sha256": w.dataset.sha256, "users": 1, "items": 1, "events": 1, "newest_event": newest}
    with contextlib.chdir(folder):
        register_model(VersionModels(served, judged), {**reading, "as_shipped": reading, "data": data}, config)
    return config, served, judged


def _zeros_like(backbone):
    other = copy.deepcopy(backbone)
    other.load_state_dict({name: torch.zeros_like(value) for name, value in backbone.state_dict().items()})
    return other


def test_both_models_come_back_with_what_they_have_learnt(refitted):
    config, served, judged = refitted
    models = load_models("1", config)
    assert models.served.shares_evidence(served)
    assert models.judged.shares_evidence(judged)
    assert (models.served_until, models.judged_until) == (LATE, EARLY)
    assert load_version("1", config).shares_evidence(served)


def test_a_version_without_a_refit_has_learnt_the_validation_targets():
    """Not its backbone, but the weights of its plugins."""
    newest = {"training": 1, "before_test": EARLY, "all": LATE}
    evaluation = {"models": {"pin": {}}, "data": {"newest_event": newest}}
    assert _tags(evaluation, refitted=False) == {"learnt.until": str(EARLY)}
    assert _tags(evaluation, refitted=True) == {"learnt.until": str(LATE), "judged.until": str(EARLY)}


def test_promotion_compares_the_model_that_has_not_learnt_the_targets(refitted, planted_world):
    """The log has no clock that tells more, so what is served may have learnt them."""
    config, _, judged = refitted
    newest, models = Newest(planted_world.dataset, VALID), load_models("1", config)
    mine, popularity, notes, _ = promotion._compared(newest, config, models, None)
    assert mine is models.judged
    assert notes == []
    counted = count_popularity(before_test(planted_world.dataset))
    np.testing.assert_array_equal(popularity.popularity.counts, counted.counts)
    _, reference, notes, _ = promotion._compared(newest, config, models, "1")
    assert reference.shares_evidence(judged)
    assert notes == ["version 1 is compared as it was before its refit, which has learnt some of the targets"]
