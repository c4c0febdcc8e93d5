from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.fitting import refit as refit_module
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.refit import before_test, rebuilt, refit, refit_training, whole_log
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import new_recommender

PLUGINS = PluginTraining(folds=2, memory_search=None)


@pytest.fixture(scope="module")
def pin(planted_world, joint_backbone):
    dataset = planted_world.dataset
    alone = new_recommender(joint_backbone, dataset)
    own, _ = fit_plugins(joint_backbone, dataset, build_scorers(dataset, alone.popularity, PLUGINS), PLUGINS)
    return replace(alone, plugins=own)


def test_before_the_test_part_everything_is_learnt_and_nothing_is_a_target(planted_world):
    dataset = planted_world.dataset
    learnt = before_test(dataset)
    np.testing.assert_array_equal(learnt.activeness, dataset.sequences.lengths - 1)
    assert len(learnt.validation_users) == len(learnt.test_users) == 0
    assert whole_log(dataset).split.train_end.sum() == len(dataset.sequences.items)


def test_a_cut_in_time_keeps_the_whole_test_part_away_from_every_user(planted_world):
    """Also from users without a test target, whose later events are as much in the test part as those of others."""
    dataset = planted_world.dataset
    split = split_sequences(dataset.sequences, Splitting(rule="global_time"), ExcludeSeen(True))
    assert ((split.test_at < 0) & (split.test_from < dataset.sequences.lengths)).any()
    learnt = before_test(replace(dataset, split=split))
    cut = np.sort(dataset.sequences.timestamps)[int(len(dataset.sequences.timestamps) * 0.9)]
    assert dataset.sequences.timestamps[learnt.split.in_training(dataset.sequences)].max() < cut


def test_the_refit_is_a_quarter_of_the_training(small_training):
    shorter = refit_training(small_training)
    assert shorter.schedule.epochs == 2
    assert shorter.schedule.weight_average == 0.9
    assert shorter.schedule.learning_rate == small_training.schedule.learning_rate


def test_what_events_determine_is_estimated_anew_and_what_validation_chose_stays(planted_world, pin, small_training):
    learnt = before_test(planted_world.dataset)
    again = refit(pin, learnt, small_training.joint())
    assert not torch.equal(again.backbone.item_vectors(), pin.backbone.item_vectors())
    assert again.popularity.counts.sum() == learnt.activeness.sum()
    assert again.plugins.scorers.memory.matrix.sum() > pin.plugins.scorers.memory.matrix.sum() * 1.0
    assert again.plugins.scorers.memory.config == pin.plugins.scorers.memory.config
    assert torch.equal(again.plugins.theta, pin.plugins.theta)
    assert (again.strata, again.plugins.choice) == (pin.strata, pin.plugins.choice)


def test_a_refit_model_does_not_know_the_test_events(planted_world, pin, small_training):
    """With other test events the refit is the same to the bit."""
    dataset = planted_world.dataset
    items = np.array(dataset.sequences.items)
    last = dataset.sequences.offsets[1:] - 1
    items[last] = 1 + items[last] % dataset.n_items
    changed = replace(dataset, sequences=replace(dataset.sequences, items=items))
    one, other = (refit(pin, before_test(d), small_training.joint()) for d in (dataset, changed))
    assert one.shares_evidence(other)


def test_without_plugins_only_the_backbone_and_popularity_change(planted_world, joint_backbone):
    dataset = planted_world.dataset
    again = rebuilt(new_recommender(joint_backbone, dataset), joint_backbone, before_test(dataset))
    assert again.plugins is None
    assert again.popularity.counts.sum() == before_test(dataset).activeness.sum()


def test_the_scorers_of_a_refit_have_the_order_in_which_the_plugins_weigh_them(planted_world, pin, monkeypatch):
    """A model may have been stored when another release listed the scorers in another order."""
    scorers = pin.plugins.scorers
    several = {"first": scorers.others["factors"], "second": scorers.others["factors"]}
    model = replace(pin, plugins=replace(pin.plugins, scorers=replace(scorers, others=several)))
    monkeypatch.setattr(refit_module, "fit_others", lambda *args: dict(reversed(several.items())))
    again = rebuilt(model, pin.backbone, planted_world.dataset)
    assert list(again.plugins.scorers.others) == ["first", "second"]


def test_without_enough_targets_the_way_out_is_that_of_the_cause(planted_world, joint_backbone, caplog):
    dataset = planted_world.dataset
    scorers = build_scorers(dataset, new_recommender(joint_backbone, dataset).popularity, PLUGINS)
    for repeats, words in ((37, "37 held-out events repeat an item"), (0, "splitting.valid_share")):
        caplog.clear()
        split = replace(dataset.split, valid_at=np.zeros_like(dataset.split.valid_at), repeated_valid=repeats)
        own, _ = fit_plugins(joint_backbone, replace(dataset, split=split), scorers, PLUGINS)
        assert set(own.choice) == {"none"}
        assert words in caplog.text
