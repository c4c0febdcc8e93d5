"""GRU4Rec: torch's own GRU on each history alone and on packed sequences, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import GRU4RecConfig
from pinet_kedro.backbones.packed_gru import pack, packed_gru

EXACT = {"rtol": 1e-10, "atol": 1e-12}
HISTORIES = torch.tensor([[0, 0, 0, 4, 9, 2], [0, 7, 7, 1, 3, 5], [8, 6, 4, 2, 1, 3]])
REAL = HISTORIES != 0
STEPS = [[3, 2, 2, 1], [4, 4], [5], [1, 1, 1]]


@pytest.fixture(params=[1, 2], ids=["one layer", "two layers"])
def model(request):
    torch.manual_seed(0)
    config = GRU4RecConfig(width=8, hidden=6, layers=request.param, max_length=8)
    return build_backbone(config, n_items=10).double().eval()


def test_states_equal_torchs_gru_on_each_history_alone(model):
    together = model.states(HISTORIES)
    for row, history in enumerate(HISTORIES):
        hidden, _ = model.gru(model.items.weight[history[history != 0]])
        expected = hidden @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(together[row][REAL[row]], expected, **EXACT)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("steps", STEPS, ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
def test_packed_states_and_gradients_equal_torchs(layers, steps, dropout):
    torch.manual_seed(0)
    gru = nn.GRU(5, 4, layers, dropout=dropout).double()
    x = torch.randn(sum(steps), 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(sum(steps), 4, dtype=torch.float64)
    sides = []
    for compute in (packed_gru, lambda gru, x, steps: gru(PackedSequence(x, torch.tensor(steps)))[0].data):
        torch.manual_seed(1)  # dropout between layers draws the same numbers in the same order
        states = compute(gru, x, steps)
        sides.append((states, *torch.autograd.grad(states, [x, *gru.parameters()], upstream)))
    for ours, theirs in zip(*sides, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


def test_pack_reads_the_longest_histories_first():
    real = torch.tensor([[False, True, True], [True, True, True], [False, False, True]])
    rows, columns, steps = pack(real)
    assert steps == [3, 2, 1]
    assert rows.tolist() == [1, 0, 2, 1, 0, 1]
    assert columns.tolist() == [0, 1, 2, 1, 2, 2]


def test_stored_names_equal_torchs(model):
    layers = range(model.config.layers)
    expected = {f"gru.{kind}_l{layer}" for layer in layers for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    assert {name for name in model.state_dict() if name.startswith("gru.")} == expected
