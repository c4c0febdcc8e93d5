"""LRURec: the recurrence in complex numbers, step by step, and its two fast forms."""

import pytest
import torch
import torch.nn.functional as F

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import LRURecConfig
from pinet_kedro.backbones.lrurec import _Scan

EXACT = {"rtol": 1e-10, "atol": 1e-12}
HISTORIES = torch.tensor([[0, 0, 0, 4, 9, 2, 7], [0, 7, 7, 1, 3, 5, 5], [8, 6, 4, 2, 1, 3, 9]])


@pytest.fixture(params=[1, 2], ids=["one block", "two blocks"])
def model(request):
    torch.manual_seed(0)
    config = LRURecConfig(width=8, hidden=6, blocks=request.param, max_length=8)
    return build_backbone(config, n_items=10).double().eval()


def step_by_step(model, history):
    """States of one history without padding: h_t = λ·h_{t−1} + √(1 − |λ|²)·B·x_t in complex numbers."""
    x = model.item_norm(model.items.weight[history])
    for block in model.blocks:
        factor = torch.exp(torch.complex(-block.decay.exp(), block.angle.exp()))
        out = torch.complex(*block.leave.weight.chunk(2, dim=1)).conj()
        hidden, rows = torch.zeros_like(factor), []
        for event in x:
            entering = torch.complex(*block.enter(event).chunk(2))
            hidden = factor * hidden + (1 - factor.abs() ** 2).sqrt() * entering
            mixed = block.mixed_norm(event + (out @ hidden).real + block.leave.bias)
            rows.append(block.feed_norm(mixed + block.contract(F.gelu(block.expand(mixed)))))
        x = torch.stack(rows)
    return model.norm(x)


def test_states_are_those_of_the_recurrence(model):
    together = model.states(HISTORIES)
    for row, history in enumerate(HISTORIES):
        real = history != 0
        torch.testing.assert_close(together[row][real], step_by_step(model, history[real]), **EXACT)


@pytest.mark.parametrize("events", [1, 2, 5, 8])
def test_gradients_are_those_of_the_recurrence(events):
    torch.manual_seed(0)
    values = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in [(2, events, 3)] * 2 + [(3,)] * 2
    ]
    assert torch.autograd.gradcheck(_Scan.apply, values)


def test_the_newest_state_alone_is_the_last_of_all(model):
    torch.testing.assert_close(model.newest_states(HISTORIES), model.states(HISTORIES)[:, -1], **EXACT)
    torch.testing.assert_close(model.newest_states(HISTORIES[:, -1:]), model.states(HISTORIES[:, -1:])[:, 0], **EXACT)


@pytest.mark.parametrize("speed", [-40.0, 40.0], ids=["remembers all", "forgets at once"])
def test_extreme_decays_have_finite_states_and_gradients(model, speed):
    for block in model.blocks:
        block.decay.data.fill_(speed)
    states = model.float().states(HISTORIES)
    states.square().sum().backward()
    assert torch.isfinite(states).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_new_units_remember_between_half_and_nearly_all_of_an_event(model):
    radius = torch.exp(-model.blocks[0].decay.exp())
    assert radius.min() >= 0.5
    assert radius.max() <= 0.99
