"""Reptile against the weighted gradient, an explicit loop with an optimiser, and its expansion."""

import copy
from itertools import permutations

import pytest
import torch

from pinet_kedro.aggregation.group_gradients import GroupGradients
from pinet_kedro.aggregation.reptile import visit_strata

WEIGHTS = [0.2, 0.5, 0.3]
INPUTS = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def losses_of(layer):
    return [lambda x=x: layer(x).square().mean() for x in INPUTS]


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def visited(layer, rate, order, monkeypatch):
    """The gradient that the optimiser gets, and the losses' values."""
    monkeypatch.setattr(torch, "randperm", lambda n, generator: torch.tensor(order))
    values = visit_strata(GroupGradients(layer.parameters(), 3), losses_of(layer), WEIGHTS, rate)
    return flat(p.grad for p in layer.parameters()), values


def weighted(layer):
    gradients = GroupGradients(layer.parameters(), 3)
    gradients.accumulate(losses_of(layer), WEIGHTS)
    return flat(p.grad for p in layer.parameters())


def test_for_a_tiny_inner_rate_it_is_the_weighted_gradient(layer, monkeypatch):
    gradient, values = visited(layer, 1e-12, [1, 2, 0], monkeypatch)
    torch.testing.assert_close(gradient, weighted(layer), rtol=1e-9, atol=1e-12)
    assert values == pytest.approx([loss().item() for loss in losses_of(layer)])


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]], ids=str)
@pytest.mark.parametrize("rate", [0.05, 2.0])
def test_gradient_equals_a_loop_of_descent_steps(layer, monkeypatch, order, rate):
    walker = copy.deepcopy(layer)
    descent = torch.optim.SGD(walker.parameters(), lr=rate)
    seen = {}
    for a in order:
        descent.zero_grad()
        loss = losses_of(walker)[a]()
        seen[a] = loss.item()
        (WEIGHTS[a] * loss).backward()
        descent.step()
    expected = (flat(layer.parameters()) - flat(walker.parameters())) / rate
    gradient, values = visited(layer, rate, order, monkeypatch)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    assert values == pytest.approx([seen[a] for a in range(3)])
    assert not torch.allclose(gradient, weighted(layer), rtol=1e-3)


def test_weights_are_unchanged_to_the_bit(layer, monkeypatch):
    before = flat(layer.parameters())
    visited(layer, 3.0, [0, 1, 2], monkeypatch)
    assert torch.equal(flat(layer.parameters()), before)


def test_mean_over_orders_favours_agreement(layer, monkeypatch):
    """At first order in α: minus α/2 times the gradient of the inner products of all pairs of strata."""
    rate, parameters = 1e-4, list(layer.parameters())
    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(w * loss(), parameters, create_graph=True)])
        for w, loss in zip(WEIGHTS, losses_of(layer), strict=True)
    ]
    agreement = sum(gradients[a] @ gradients[b] for a, b in [(0, 1), (0, 2), (1, 2)])
    expected = -0.5 * flat(torch.autograd.grad(agreement, parameters))
    orders = [visited(layer, rate, list(order), monkeypatch)[0] for order in permutations(range(3))]
    torch.testing.assert_close((torch.stack(orders).mean(0) - weighted(layer)) / rate, expected, rtol=1e-2, atol=1e-4)


def test_every_step_draws_a_new_order_from_the_given_generator(layer):
    def drawn(seed):
        rng = torch.Generator().manual_seed(seed)
        gradients = GroupGradients(layer.parameters(), 3)
        return [
            (visit_strata(gradients, losses_of(layer), WEIGHTS, 2.0, rng), flat(p.grad for p in layer.parameters()))[1]
            for _ in range(8)
        ]

    first = torch.stack(drawn(1))
    assert torch.equal(torch.stack(drawn(1)), first)
    assert len(torch.unique(first, dim=0)) > 1
