"""Rows of gradients, and the step over strata: it equals the joint step when the method is switched off."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.activeness import Strata
from pinet_kedro.aggregation.config import (
    BackdoorConfig,
    DeconfoundedConfig,
    EffectiveNumberConfig,
    ReptileConfig,
    TorchJDConfig,
)
from pinet_kedro.aggregation.group_gradients import GroupGradients
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.losses.binary import Negatives
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig, GBCEConfig, SampledSoftmaxConfig
from pinet_kedro.training import sparse_rows as touched
from pinet_kedro.training.backbone import _Training


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def losses_of(layer):
    inputs = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [lambda x=x: layer(x).square().mean() for x in inputs]


def test_rows_equal_autograd_of_each_loss(layer):
    matrix, values = GroupGradients(layer.parameters(), 3).compute(losses_of(layer))
    for row, value, loss in zip(matrix, values, losses_of(layer), strict=True):
        layer.zero_grad()
        loss().backward()
        torch.testing.assert_close(row, torch.cat([p.grad.flatten() for p in layer.parameters()]))
        assert value == loss().item()


def test_second_step_overwrites_the_first(layer):
    gradients = GroupGradients(layer.parameters(), 3)
    first = gradients.compute(losses_of(layer))[0].clone()
    doubled = gradients.compute([lambda f=f: 2 * f() for f in losses_of(layer)])[0]
    torch.testing.assert_close(doubled, 2 * first)


def test_assigned_gradient_has_the_shapes_of_the_parameters(layer):
    gradients = GroupGradients(layer.parameters(), 1)
    flat = torch.arange(sum(gradients.sizes), dtype=torch.float64)
    gradients.assign(flat)
    assert [p.grad.shape for p in layer.parameters()] == [p.shape for p in layer.parameters()]
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in layer.parameters()]), flat)


def test_accumulated_gradient_is_the_weighted_sum_of_the_rows(layer):
    gradients = GroupGradients(layer.parameters(), 3)
    matrix, values = gradients.compute(losses_of(layer))
    weights = [0.2, 0.5, 1.3]
    for _ in range(2):  # gradients of an earlier step are not added
        assert gradients.accumulate(losses_of(layer), weights) == values
    expected = torch.tensor(weights, dtype=torch.float64) @ matrix
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in layer.parameters()]), expected)


def test_frozen_parameters_are_left_out(layer):
    layer[0].requires_grad_(False)
    gradients = GroupGradients(layer.parameters(), 3)
    assert gradients.sizes == [8, 2]
    assert gradients.compute(losses_of(layer))[0].shape == (3, 10)


def test_number_of_losses_must_match_the_groups(layer):
    with pytest.raises(ValueError, match="argument"):
        GroupGradients(layer.parameters(), 2).compute(losses_of(layer))


LOSSES = {
    "full": FullSoftmaxConfig(),
    "sampled": SampledSoftmaxConfig(uniform_items=15),
    "focal": FullSoftmaxConfig(focal=2.0),
    "bce": BCEConfig(),
    "gbce": GBCEConfig(negatives=7),
}
SMALL = {"width": 16, "max_length": 10, "dropout": 0.0}
BACKBONES = {
    "sasrec": SASRecConfig(**SMALL, blocks=1),
    "gru4rec": GRU4RecConfig(**SMALL, hidden=12),
    "din": DINConfig(**SMALL),
    "lrurec": LRURecConfig(**SMALL, hidden=12),
}


def recorded_step(world, small_training, loss, aggregation, backbone=BACKBONES["sasrec"]):
    """The gradient of one real training step, its loss, the model before it, and what its losses were called with."""
    config = small_training.model_copy(update={"backbone": backbone, "loss": loss, "aggregation": aggregation})
    torch.manual_seed(0)
    training = _Training(world.dataset, config, torch.device("cpu"))
    before, calls, one_loss = copy.deepcopy(training.model), [], training._loss

    def recorded(inputs, targets, candidates):
        calls.append((inputs, targets, candidates))
        return one_loss(inputs, targets, candidates)

    training._loss = recorded
    training._step(1, 0)
    return [p.grad for p in training.model.parameters()], training.loss, before, calls


def joined(parts):
    """The draws for all batches of a step as one."""
    if isinstance(parts[0], Negatives):
        return Negatives(torch.cat([part.items for part in parts]))
    assert all(part is parts[0] for part in parts)
    return parts[0]


NEUTRAL = {
    "deconfounded": DeconfoundedConfig(strength=0, temperature=None, gate=False),
    "deconfounded body": DeconfoundedConfig(strength=0, temperature=None, gate=False, parameters="body"),
    "backdoor": BackdoorConfig(strength=0),
    "effective number": EffectiveNumberConfig(overlap=0),
    "reptile": ReptileConfig(rows="share", inner_rate=1e-9),
    "joint training": None,
}


@pytest.mark.parametrize("aggregation", NEUTRAL.values(), ids=NEUTRAL.keys())
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES.keys())
def test_a_step_equals_one_padded_batch_of_the_same_users(planted_world, small_training, backbone, loss, aggregation):
    gradients, mean_loss, model, calls = recorded_step(planted_world, small_training, loss, aggregation, backbone)
    assert len(calls) >= (5 if aggregation else 1)
    length = max(inputs.shape[1] for inputs, _, _ in calls)
    inputs = torch.cat([torch.nn.functional.pad(part, (length - part.shape[1], 0)) for part, _, _ in calls])
    assert len(inputs) == small_training.schedule.batch_users
    targets = torch.cat([part for _, part, _ in calls])
    drawn = joined([part for *_, part in calls])
    joint = model.loss(inputs, targets, mean_loss, drawn)
    expected = torch.autograd.grad(joint, list(model.parameters()))
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("aggregation", [DeconfoundedConfig(), DeconfoundedConfig(scope="global"),
                         DeconfoundedConfig(parameters="body"), TorchJDConfig(name="UPGrad"), ReptileConfig(), None],
                         ids=["tensor", "global", "body", "torchjd", "reptile", "joint training"])  # fmt: skip
@pytest.mark.parametrize("loss", ["sampled", "bce"])
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES.keys())
def test_training_on_the_rows_of_a_step_equals_training_on_all_rows(
    planted_world, small_training, monkeypatch, backbone, loss, aggregation
):
    w, trained, found = planted_world, [], []
    schedule = small_training.schedule.model_copy(update={"batch_users": 6})  # leaves some items out
    config = small_training.model_copy(
        update={"backbone": backbone, "loss": LOSSES[loss], "schedule": schedule, "aggregation": aggregation}
    )
    search = touched.SparseRows.rows

    def recorded(*arguments):
        found.append(search(*arguments))
        return found[-1]

    monkeypatch.setattr(touched.SparseRows, "rows", recorded)
    for most in (0.0, 2.0):  # share of the rows up to which they are narrowed: never, always
        monkeypatch.setattr(touched, "_MOST", most)
        torch.manual_seed(0)
        training = _Training(w.dataset, config, torch.device("cpu"))
        for step in range(4):
            training._step(1, step)
        trained.append(torch.cat([p.detach().flatten() for p in training.model.parameters()]))
    assert [rows is None for rows in found] == [True] * 4 + [False] * 4
    assert min(len(rows) for rows in found[4:]) < w.n_items
    torch.testing.assert_close(*trained, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_full_strength_changes_the_joint_step(planted_world, small_training, loss):
    steps = []
    for strength in (0, 1):
        config = DeconfoundedConfig(strength=strength, temperature=None, gate=False)
        gradients, *_ = recorded_step(planted_world, small_training, loss, config)
        steps.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert not torch.allclose(*steps, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("aggregation", [DeconfoundedConfig(), None], ids=["strata", "joint"])
def test_losses_of_a_step_share_one_candidate_set(planted_world, small_training, aggregation):
    *_, calls = recorded_step(planted_world, small_training, LOSSES["sampled"], aggregation)
    shared = calls[0][2]
    assert all(candidates is shared for _, _, candidates in calls)
    assert np.isin(torch.cat([targets for _, targets, _ in calls]), shared.items).all()
    assert len(shared.items) < planted_world.n_items


def flat(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients])


def step_of(world, small_training, aggregation, loss=LOSSES["sampled"]):
    return recorded_step(world, small_training, loss, aggregation)[0]


def test_sum_of_share_weighted_rows_is_the_joint_gradient_times_the_strata(planted_world, small_training):
    rows = flat(step_of(planted_world, small_training, TorchJDConfig(name="Sum", rows="share")))
    plain = flat(step_of(planted_world, small_training, NEUTRAL["backdoor"]))
    torch.testing.assert_close(rows, 5 * plain, rtol=1e-4, atol=1e-6)


def test_backdoor_by_accumulation_is_backdoor_by_matrix(planted_world, small_training):
    by_matrix = DeconfoundedConfig(strength=0.7, temperature=None, gate=False)
    one, other = (flat(step_of(planted_world, small_training, c)) for c in (BackdoorConfig(strength=0.7), by_matrix))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_with_body_scope_only_item_embeddings_get_the_joint_gradient(planted_world, small_training):
    joint = step_of(planted_world, small_training, NEUTRAL["backdoor"])
    every, body = (
        step_of(planted_world, small_training, DeconfoundedConfig(strength=1, parameters=parameters))
        for parameters in ("all", "body")
    )
    # Item embeddings are SASRec's first parameter.
    torch.testing.assert_close(body[0], joint[0], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(every[0], joint[0], rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(flat(body[1:]), flat(every[1:]), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(flat(body[1:]), flat(joint[1:]), rtol=1e-2, atol=1e-5)


def test_full_strength_is_the_user_balanced_loss_if_each_stratum_has_one_length(planted_world, small_training):
    """All users have the same weight, for any number of positions."""
    w = planted_world
    ends = np.where(w.users % 3 == 0, 2, 3)
    assert (ends <= w.split.train_end).all()
    split = replace(w.split, train_end=ends)
    strata = w.strata.model_copy(update={"training": Strata(thresholds=(3,))})
    world = w.having(split=split, strata=strata)
    config = small_training.model_copy(
        update={"schedule": small_training.schedule.model_copy(update={"batch_users": len(w.users)})}
    )
    gradients, loss, model, calls = recorded_step(world, config, LOSSES["full"], BackdoorConfig(strength=1))
    users = [
        loss(model.states(row[None])[0], model.item_vectors(), part, drawn)
        for inputs, targets, drawn in calls
        for row, part in zip(inputs, targets.view(inputs.shape), strict=True)
    ]
    assert len(users) == len(w.users)
    expected = torch.autograd.grad(sum(users) / len(users), list(model.parameters()))
    torch.testing.assert_close(flat(gradients), flat(expected), rtol=1e-3, atol=1e-6)
