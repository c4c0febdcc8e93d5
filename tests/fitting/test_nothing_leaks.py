"""What is held out has no part in what is learnt before it: other events there change no weight and no choice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import build_dataset
from pinet_kedro.fitting.choice import choose_backbone
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.refit import before_test, refit
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.recommender import new_recommender
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining

pytestmark = pytest.mark.slow  # trains a dozen models

TRAINING = BackboneTraining.model_validate(
    {
        "backbone": {"name": "sasrec", "width": 8, "blocks": 1, "heads": 1, "max_length": 8},
        "schedule": {"epochs": 1, "batch_users": 32},
    }
)
PLUGINS = PluginTraining.model_validate({"folds": 2, "factors": {"factors": 4, "iterations": 2}})


def flat(tensors):
    return torch.cat([tensor.double().flatten() for tensor in tensors.values()])


def learnt(dataset):
    """All numbers that a run estimates or chooses before it ranks test targets, by name."""
    reports = []
    joint, other = train_backbone(dataset, TRAINING.joint(), reports.append), train_backbone(dataset, TRAINING)
    unsearched = build_scorers(dataset, count_popularity(dataset), PLUGINS.model_copy(update={"memory_search": None}))
    scorers = build_scorers(dataset, count_popularity(dataset), PLUGINS)
    plugins, _ = fit_plugins(joint, dataset, scorers, PLUGINS)
    choice = choose_backbone((joint, other), dataset, scorers, PLUGINS, "auto")
    pin = replace(new_recommender(joint, dataset), plugins=plugins)
    again = refit(pin, before_test(dataset), TRAINING.joint())
    return {
        "strata": torch.tensor(dataset.strata.training.thresholds),
        "joint backbone": flat(joint.state_dict()),
        "other backbone": flat(other.state_dict()),
        "scorers": flat(unsearched.tensors()),
        "chosen scorers": flat(scorers.tensors()),
        "plugins": plugins.theta,
        "choice of the backbone": torch.tensor([gain["relative"] for gain in choice.gains.values()]),
        "validation curve": torch.tensor([report.valid_ndcg["all"] for report in reports if report.valid_ndcg]),
        "refit backbone": flat(again.backbone.state_dict()),
        "refit scorers": flat(again.plugins.scorers.tensors()),
    }


@pytest.mark.parametrize("rule", ["leave_one_out", "global_time"])
def test_events_that_are_held_out_change_nothing_that_is_learnt_before(rule):
    events, _ = clean_events(generate_interactions(SyntheticLog(users=100, items=30)), Cleaning())
    of_user = events.groupby("user_id")["item_id"]  # all users come and go at the same times
    events["timestamp"] = (1e18 * (1 + of_user.cumcount() / of_user.transform("size"))).astype("int64")
    dataset, _ = build_dataset(events, Splitting(rule=rule), ExcludeSeen(False), Stratification())
    sequences, split, rng = dataset.sequences, dataset.split, np.random.default_rng(0)
    user = np.repeat(np.arange(dataset.n_users), sequences.lengths)
    in_test = sequences.positions() >= split.test_from[user]
    in_validation = (sequences.positions() >= split.train_end[user]) & ~in_test
    first = learnt(dataset)
    for held_out in (in_test, in_validation):
        items = sequences.items.copy()
        items[held_out] = rng.permutation(items[held_out])
        found = learnt(replace(dataset, sequences=replace(sequences, items=items)))
        unchanged = {name for name in first if torch.equal(first[name], found[name])}
        if held_out is in_test:
            assert unchanged == set(first)
        else:
            assert unchanged >= {"strata", "joint backbone", "other backbone", "scorers"}
            assert unchanged.isdisjoint({"plugins", "refit backbone"})
