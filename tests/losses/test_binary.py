"""BCE and gBCE against torch's own functions, and the distribution of their negatives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pinet_kedro.losses import binary
from pinet_kedro.losses.binary import BinaryCrossEntropy, Negatives
from pinet_kedro.losses.config import BCEConfig, GBCEConfig
from pinet_kedro.losses.loss import build_loss

N, D, ITEMS = 40, 5, 30


@pytest.fixture
def problem():
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(N, D, generator=rng, dtype=torch.float64).requires_grad_()
    vectors = torch.randn(ITEMS, D, generator=rng, dtype=torch.float64).requires_grad_()
    return states, vectors, torch.randint(1, ITEMS + 1, (N,), generator=rng)


def drawn_for(loss, targets, seed=0):
    return loss.candidates(targets.numpy(), np.random.default_rng(seed))


@pytest.mark.parametrize("chunk", [1, 7 * 4 * D, 2**19], ids=["a row", "seven rows", "all"])
@pytest.mark.parametrize("negatives", [1, 3])
def test_bce_has_the_value_and_gradients_of_torch(problem, monkeypatch, chunk, negatives):
    monkeypatch.setattr(binary, "_CHUNK_NUMBERS", chunk)
    states, vectors, targets = problem
    loss = build_loss(BCEConfig(negatives=negatives), np.ones(ITEMS))
    drawn = drawn_for(loss, targets)
    scores = (states[:, None] * vectors[torch.cat([targets[:, None], drawn.items], 1) - 1]).sum(-1)
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1
    ours, theirs = loss(states, vectors, targets, drawn), F.binary_cross_entropy_with_logits(scores, labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (states, vectors)),
        torch.autograd.grad(3 * theirs, (states, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("calibration", [0.0, 0.4, 1.0])
def test_gbce_raises_the_target_to_the_power_of_the_paper(problem, calibration):
    states, vectors, targets = problem
    loss = build_loss(GBCEConfig(negatives=4, calibration=calibration), np.ones(ITEMS))
    drawn = drawn_for(loss, targets)
    alpha = 4 / (ITEMS - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    positive = (states * vectors[targets - 1]).sum(-1).sigmoid() ** beta
    negative = (states[:, None] * vectors[drawn.items - 1]).sum(-1).sigmoid()
    theirs = -(positive.log() + (1 - negative).log().sum(1)).mean() / 5
    ours = loss(states, vectors, targets, drawn)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(ours, (states, vectors)), torch.autograd.grad(theirs, (states, vectors)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_power_is_between_the_share_of_sampled_negatives_and_one():
    powers = [BinaryCrossEntropy(5, c, n_items=21).power for c in (0, 0.5, 1)]
    assert powers == pytest.approx([1, 0.625, 0.25])
    assert BinaryCrossEntropy(100, 1.0, n_items=21).power == 1  # more negatives than items


def test_pinned_value():
    states, vectors = torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0]])
    value = BinaryCrossEntropy(1, 0.0, 2)(states, vectors, torch.tensor([2]), Negatives(torch.tensor([[1]])))
    assert float(value) == pytest.approx((np.log1p(np.exp(-2)) + np.log(2)) / 2)


def test_huge_logits_do_not_overflow():
    states, vectors = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0]])
    loss = BinaryCrossEntropy(1, 0.0, 2)
    assert float(loss(states, vectors, torch.tensor([1]), Negatives(torch.tensor([[2]])))) == 0
    assert float(loss(states, vectors, torch.tensor([2]), Negatives(torch.tensor([[1]])))) == 1000


def test_negatives_are_uniform_over_all_items_but_the_target():
    targets = np.repeat([1, 4, 5], 20_000)
    drawn = BinaryCrossEntropy(2, 0.0, n_items=5).candidates(targets, np.random.default_rng(0)).items.numpy()
    for target in (1, 4, 5):
        found = np.bincount(drawn[targets == target].ravel(), minlength=6)
        assert found[0] == found[target] == 0
        assert np.delete(found, [0, target]) == pytest.approx(np.full(4, 10_000), rel=0.05)


def test_split_keeps_the_negatives_in_order():
    drawn = Negatives(torch.arange(12).view(6, 2))
    parts = drawn.split([1, 3, 2])
    assert [len(part.items) for part in parts] == [1, 3, 2]
    assert torch.equal(torch.cat([part.items for part in parts]), drawn.items)


def test_one_item_has_no_negative():
    with pytest.raises(ValueError, match="n_items=1"):
        build_loss(BCEConfig(), np.ones(1))
