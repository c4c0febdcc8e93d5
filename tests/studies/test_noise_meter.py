"""The measurement reads a real model and its data, and leaves both and the training as they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.losses.config import FullSoftmaxConfig, SampledSoftmaxConfig
from pinet_kedro.studies.gradient_noise.measurement import NoiseMeter, measure_while_training
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining, GradientNoise

NOISE = GradientNoise(blocks=3, rounds=2)


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def meter(world, training, noise):
    return NoiseMeter(world.dataset, training, noise)


def ignore(report):
    pass


@pytest.mark.parametrize("loss", [FullSoftmaxConfig(), SampledSoftmaxConfig(uniform_items=15)], ids=["full", "sampled"])
@pytest.mark.parametrize("dropout", [True, False], ids=["dropout", "no dropout"])
def test_trained_weights_are_the_same_with_and_without_the_measurement(planted_world, small_training, loss, dropout):
    w = planted_world
    config = small_training.model_copy(
        update={"loss": loss, "schedule": small_training.schedule.model_copy(update={"epochs": 3})}
    )
    trained, measured = [], []
    plain = train_backbone(w.dataset, config.joint(), lambda r: trained.append(weights_of(r.model)))
    noise = NOISE.model_copy(update={"checkpoints": (0.0, 0.5, 1.0), "dropout": dropout})
    table, pairs = measure_while_training(w.dataset, config, noise, lambda r: measured.append(weights_of(r.model)))
    assert len(trained) == len(measured) == 3
    for one, other in zip(trained, measured, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(trained[-1], weights_of(plain))  # reported: the weights in training, not their average
    assert table["epoch"].unique().tolist() == pairs["epoch"].unique().tolist() == [1, 2, 3]


def test_measurement_leaves_the_model_and_the_generator_as_they_were(planted_world, small_training, joint_backbone):
    before, state, mode = weights_of(joint_backbone), torch.get_rng_state(), joint_backbone.training
    one, _ = meter(planted_world, small_training, NOISE).measure(joint_backbone)
    assert torch.equal(weights_of(joint_backbone), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert joint_backbone.training == mode
    assert all(p.grad is None for p in joint_backbone.parameters())
    again, _ = meter(planted_world, small_training, NOISE).measure(joint_backbone)
    assert one.equals(again)


@pytest.mark.slow
def test_squared_norms_are_those_of_the_gradients_of_all_users(planted_world, small_training, joint_backbone):
    """Without dropout and windows the true gradient is known: that of all users of the stratum."""
    w = planted_world
    schedule = small_training.schedule.model_copy(update={"random_window": 0.0})
    training = BackboneTraining.model_validate({**small_training.model_dump(), "schedule": schedule.model_dump()})
    noise = GradientNoise(blocks=16, rounds=20, dropout=False)
    table, _ = meter(w, training, noise).measure(joint_backbone)
    whole = GradientNoise(blocks=16, rounds=3, dropout=False)
    every = training.model_copy(update={"schedule": schedule.model_copy(update={"batch_users": 40 * len(w.users)})})
    truth, _ = meter(w, every, whole).measure(joint_backbone)
    assert (truth["step_users"] == truth["users"]).all()  # a step has no more users than there are
    gap = table["squared_norm"] - truth["squared_norm"]
    error = np.hypot(table["squared_norm_error"], truth["squared_norm_error"])
    assert (gap.abs() < 4 * error).all()
    assert (table["squared_norm_error"] < 0.25 * table["squared_norm"]).all()


def test_tables_hold_every_part_stratum_and_pair(planted_world, small_training, joint_backbone):
    table, pairs = meter(planted_world, small_training, NOISE).measure(joint_backbone)
    assert table["part"].tolist() == [part for part in ("all", "body", "items") for _ in range(5)]
    assert table["stratum"].tolist() == 3 * [1, 2, 3, 4, 5]
    assert len(pairs) == 3 * 10
    assert (pairs["stratum"] < pairs["other"]).all()
    assert table.loc[table["part"] == "all", "step_users"].sum() == small_training.schedule.batch_users
    assert table["users"].sum() == 3 * len(planted_world.users)
    assert (table["stratum_cosine"] >= table["step_cosine"]).all()


def test_strata_of_whose_users_only_one_can_train_have_no_pairs(planted_world, small_training, joint_backbone):
    """Users with one training event have no target in it."""
    split = planted_world.split
    few = replace(split, train_end=np.where(np.arange(len(split.train_end)) < 100, 1, split.train_end))
    world = planted_world.having(
        split=few, strata=fit_strata(few.train_end, Stratification(rule="thresholds", thresholds=(2,)))
    )
    table, pairs = meter(world, small_training, NOISE).measure(joint_backbone)
    assert table["stratum"].tolist() == [2, 2, 2]
    assert len(pairs) == 0
    assert {"stratum", "other", "cosine", "step_cosine", "stratum_cosine", "part"} <= set(pairs)


def test_checkpoints_are_shares_of_the_epochs():
    assert GradientNoise(checkpoints=(1.0, 0.0, 0.5)).epochs(48) == [1, 24, 48]
    assert GradientNoise().epochs(1) == [1]
