"""Plugins, the choice of the backbone and ranks from several processes: the digits of one, and a killed process."""

import os
import signal
import threading
import time
from functools import partial
from multiprocessing import active_children

import numpy as np
import pandas as pd
import pytest
import torch

from pinet_kedro import evidence
from pinet_kedro.errors import EndedError
from pinet_kedro.evaluation.calls import in_turn
from pinet_kedro.evaluation.ranks import rank_models
from pinet_kedro.fitting.cross_fit import cross_fitted_ranks
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.pipelines import at_once as module
from pinet_kedro.pipelines.at_once import at_once, processes_for_fits, processes_for_ranks
from pinet_kedro.pipelines.plugin_training.nodes import fit_plugins
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import NoModel, new_recommender

CONFIG = PluginTraining(folds=2, memory_search=None)


@pytest.fixture(scope="module")
def world(planted_world, joint_backbone):
    dataset = planted_world.dataset
    base = new_recommender(joint_backbone, dataset)
    return dataset, base, build_scorers(dataset, base.popularity, CONFIG)


@pytest.fixture
def two(monkeypatch):
    """Any work is worth two processes; the calls that were made in them."""
    made = []

    def counted(processes, calls):
        made.append(len(calls))
        return at_once(2, calls)

    monkeypatch.setattr(module, "at_once", counted)
    return made


@pytest.mark.usefixtures("spawned_by_a_server")
def test_plugins_and_ranks_are_those_of_one_process(world, two, monkeypatch):
    dataset, base, scorers = world
    choice = type("Choice", (), {"backbone": "joint"})
    alone = fit_plugins(base, NoModel("none"), scorers, dataset, CONFIG, choice)[0]
    pin, _, other, _ = fit_plugins(base, base, scorers, dataset, CONFIG, choice)
    assert two == [1, 2]
    assert pin.plugins.scorers is scorers
    for model in (pin, other):
        assert torch.equal(model.plugins.theta, alone.plugins.theta)
        assert model.plugins.choice == alone.plugins.choice
    models = {"base": base, "pin": pin}
    pd.testing.assert_frame_equal(rank_models(models, dataset, 2, partial(at_once, 2)), rank_models(models, dataset))
    halves = partial(cross_fitted_ranks, [base.backbone, base.backbone], dataset, CONFIG, scorers)
    for ranks, of_one in zip(halves(partial(at_once, 2)), halves(in_turn), strict=True):
        assert np.array_equal(ranks.rank, of_one.rank)


@pytest.mark.parametrize("shares", [1, 2, 3, 50])
def test_shares_have_the_blocks_of_one_process(world, monkeypatch, shares):
    dataset, base, _ = world
    monkeypatch.setattr(evidence, "_BLOCK_USERS", 7)
    sizes = []

    def spied(calls):
        sizes.append(len(calls))
        return in_turn(calls)

    ranks = rank_models({"base": base}, dataset, shares, spied)
    assert sizes == [min(shares, -(-len(dataset.test_users) // 7))]
    pd.testing.assert_frame_equal(ranks, rank_models({"base": base}, dataset))


@pytest.mark.usefixtures("spawned_by_a_server")
def test_a_killed_process_ends_the_work_within_seconds():
    def kill():
        while len(active_children()) < 2:
            time.sleep(0.05)
        os.kill(active_children()[1].pid, signal.SIGKILL)
        killed.append(time.monotonic())

    killed = []
    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(EndedError, match="exit code -9"):
        at_once(2, [partial(time.sleep, 600)] * 2)
    assert time.monotonic() - killed[0] < 5
    assert not active_children()


def test_small_work_and_a_lack_of_cores_or_memory_leave_it_to_this_process(world, monkeypatch):
    dataset, *_ = world
    monkeypatch.setattr(module, "cores", lambda: 4 * torch.get_num_threads())
    assert processes_for_fits(dataset, CONFIG, 2) == processes_for_ranks(dataset, 9) == 1
    for name in ("_CANDIDATES", "_SCORES"):
        monkeypatch.setattr(module, name, 1)
    assert processes_for_fits(dataset, CONFIG, 2) == processes_for_ranks(dataset, 9) == 4
    monkeypatch.setattr(module, "free_bytes", lambda: 2.5 * 2**30)
    assert processes_for_fits(dataset, CONFIG, 2) == processes_for_ranks(dataset, 9) == 2
    monkeypatch.setattr(module, "cores", lambda: 1)
    assert processes_for_fits(dataset, CONFIG, 2) == processes_for_ranks(dataset, 9) == 1
