"""DIN: a loop over users, positions, candidates and events gives the same logits, losses and gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pinet_kedro.backbones import din
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import DINConfig
from pinet_kedro.losses.binary import BinaryCrossEntropy
from pinet_kedro.losses.config import FullSoftmaxConfig
from pinet_kedro.losses.softmax import Candidates, FullSoftmax

FULL = FullSoftmax(FullSoftmaxConfig())
EXACT = {"rtol": 1e-10, "atol": 1e-12}
HISTORIES = torch.tensor([[0, 0, 0, 4, 9, 2], [0, 7, 7, 1, 3, 5], [8, 6, 4, 2, 1, 3]])
REAL = HISTORIES != 0
ITEMS = 10


def randomised(model):
    """The model far from its start, where attention is close to uniform."""
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    model.items.weight.data[0] = 0
    return model


@pytest.fixture(params=[1, 2], ids=["one head", "two heads"])
def model(request):
    torch.manual_seed(0)
    config = DINConfig(width=8, heads=request.param, max_length=8)
    return randomised(build_backbone(config, ITEMS).double().eval())


@pytest.fixture(params=[1, 2**20], ids=["a user a block", "one block"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(din, "_BLOCK_WEIGHTS", request.param)


def naive_logit(model, history, item):
    """The formula of the docstring for one history without padding and one item."""
    heads = model.config.heads
    width = model.config.width // heads
    x = F.layer_norm(model.items.weight[history], (heads * width,), model.norm.weight, model.norm.bias)
    vector = model.items.weight[item]
    candidate = F.layer_norm(vector, (heads * width,), model.norm.weight, model.norm.bias)
    query, keys, values = model.query.weight @ candidate, x @ model.key.weight.T, model.value(x)
    logit = model.item_bias.weight[item, 0]
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        weights = [
            query[part] @ key[part] / width**0.5 + model.recency[h, len(history) - 1 - place]
            for place, key in enumerate(keys)
        ]
        attended = torch.stack(weights).softmax(0) @ values[:, part]
        logit = logit + attended @ vector[part]
    return logit


def naive_logits(model, history):
    return torch.stack([naive_logit(model, history, item) for item in range(1, ITEMS + 1)])


@pytest.mark.usefixtures("_blocks")
def test_scores_equal_a_loop_over_candidates(model):
    _, scores = model.read(HISTORIES)
    for row, history in enumerate(HISTORIES):
        torch.testing.assert_close(scores[row], naive_logits(model, history[history != 0]), **EXACT)


# Items 8 and 10 are no target.
SAMPLED = Candidates(torch.tensor([1, 2, 3, 4, 5, 6, 7, 9]), -torch.arange(1, 9) / 5)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("candidates", [Candidates(), SAMPLED], ids=["catalogue", "sampled"])
def test_loss_and_gradients_equal_a_loop_over_positions(model, candidates):
    inputs, real = HISTORIES[:, :-1], REAL[:, :-1]
    targets = HISTORIES[:, 1:][real]
    items = torch.arange(1, ITEMS + 1) if candidates.items is None else candidates.items
    losses = []
    for history, row in zip(inputs, HISTORIES, strict=True):
        first = int((history == 0).sum())
        for end in range(first + 1, len(history) + 1):
            logits = naive_logits(model, history[first:end])[items - 1]
            column = int((items == row[end]).nonzero())
            if candidates.log_inclusion is not None:
                own = torch.arange(len(items)) == column
                logits = torch.where(own, logits, logits - candidates.log_inclusion)
            losses.append(logits.logsumexp(0) - logits[column])
    expected = torch.stack(losses).mean()
    loss = model.loss(inputs, targets, FULL, candidates)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    parameters = list(model.parameters())
    found, wanted = torch.autograd.grad(3 * loss, parameters), torch.autograd.grad(3 * expected, parameters)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("negatives", [1, 3])
def test_binary_loss_and_gradients_equal_a_loop_over_positions(model, negatives):
    """A user a block: the shortest history's scores are computed apart, the longest one's with all others."""
    inputs, real = HISTORIES[:, :-1], REAL[:, :-1]
    targets = HISTORIES[:, 1:][real]
    loss = BinaryCrossEntropy(negatives, calibration=0.6, n_items=ITEMS)
    drawn = loss.candidates(targets.numpy(), np.random.default_rng(0))
    rows = iter(drawn.items)
    losses = []
    for history, row in zip(inputs, HISTORIES, strict=True):
        first = int((history == 0).sum())
        for end in range(first + 1, len(history) + 1):
            logits = naive_logits(model, history[first:end])
            others = logits[next(rows) - 1]
            losses.append(-loss.power * F.logsigmoid(logits[row[end] - 1]) - F.logsigmoid(-others).sum())
    expected = torch.stack(losses).mean() / (negatives + 1)
    found = model.loss(inputs, targets, loss, drawn)
    torch.testing.assert_close(found, expected, **EXACT)
    parameters = list(model.parameters())
    ours, theirs = torch.autograd.grad(3 * found, parameters), torch.autograd.grad(3 * expected, parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def losses_by_position(model, histories):
    """The loss of every real position of histories, one call for each."""
    read = [items[items != 0] for items in histories]
    prefixes = [(items[None, :n], items[1 : n + 1]) for items in read for n in range(1, len(items))]
    return torch.tensor([model.loss(*prefix, FULL, Candidates()).item() * len(prefix[1]) for prefix in prefixes])


def test_a_later_item_does_not_change_earlier_positions(model):
    history = HISTORIES[2:]
    before = losses_by_position(model, history)
    for position in range(2, 6):
        changed = history.clone()
        changed[:, position] = 10
        after = losses_by_position(model, changed)
        torch.testing.assert_close(after[: position - 1], before[: position - 1], rtol=1e-6, atol=0)
        assert (after[position - 1 :] != before[position - 1 :]).all()


def test_the_state_is_the_attended_value_of_a_candidate_with_zero_query(model):
    model.query.weight.data.zero_()
    states, scores = model.read(HISTORIES)
    torch.testing.assert_close(states @ model.item_vectors().T + model.item_bias.weight[1:, 0], scores, **EXACT)
    torch.testing.assert_close(model.states(HISTORIES)[:, -1], states, **EXACT)


def test_empty_history_scores_the_bias(model):
    states, scores = model.read(torch.tensor([[0, 0, 0], [0, 0, 5]]))
    torch.testing.assert_close(scores[0], model.item_bias.weight[1:, 0], **EXACT)
    assert (states[0] == 0).all()
    torch.testing.assert_close(scores[1], naive_logits(model, torch.tensor([5])), **EXACT)


def test_extreme_affinities_stay_finite(model):
    """The first event outweighs the rest by more than a float can represent; later positions still have a gradient."""
    model.float().key.weight.data *= 1e3
    loss = model.loss(HISTORIES[:, :-1], HISTORIES[:, 1:][REAL[:, :-1]], FULL, Candidates())
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(model.parameters())))
    assert torch.isfinite(model.read(HISTORIES)[1]).all()
