"""Softmax over the catalogue and over a sample of it, against torch and against loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pinet_kedro.losses import softmax
from pinet_kedro.losses.config import FullSoftmaxConfig, SampledSoftmaxConfig
from pinet_kedro.losses.loss import build_loss
from pinet_kedro.losses.softmax import Candidates, FullSoftmax, SampledSoftmax, softmax_loss

N, D, ITEMS = 48, 6, 30


@pytest.fixture
def problem():
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(N, D, generator=rng, dtype=torch.float64).requires_grad_()
    vectors = torch.randn(ITEMS, D, generator=rng, dtype=torch.float64).requires_grad_()
    return states, vectors, torch.randint(1, ITEMS + 1, (N,), generator=rng)


# 16 rows a chunk (the floor), 16 rows but for the last chunk of 16, 40 + 8 rows, and one chunk.
@pytest.mark.parametrize("chunk_logits", [1, 17 * ITEMS, 40 * ITEMS, 2**18])
def test_full_softmax_is_cross_entropy_in_value_and_gradients(problem, monkeypatch, chunk_logits):
    monkeypatch.setattr(softmax, "_CHUNK_LOGITS", chunk_logits)
    states, vectors, targets = problem
    ours = softmax_loss(states, vectors, targets, Candidates())
    theirs = F.cross_entropy(states @ vectors.T, targets - 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    # Scaled, so that the gradient from above is not 1.
    for one, other in zip(
        torch.autograd.grad(3 * ours, (states, vectors)),
        torch.autograd.grad(3 * theirs, (states, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_chunking_changes_nothing_with_sampled_candidates(problem, monkeypatch):
    states, vectors, targets = problem
    drawn = SampledSoftmax(SampledSoftmaxConfig(uniform_items=5), np.ones(ITEMS)).candidates(
        targets.numpy(), np.random.default_rng(0)
    )
    results = []
    for chunk_logits in (1, 2**18):
        monkeypatch.setattr(softmax, "_CHUNK_LOGITS", chunk_logits)
        loss = softmax_loss(states, vectors, targets, drawn)
        results.append((loss, *torch.autograd.grad(loss, (states, vectors))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_huge_logits_do_not_overflow():
    states, vectors = torch.tensor([[1000.0]]), torch.tensor([[1.0], [-1.0], [0.5]])
    assert float(softmax_loss(states, vectors, torch.tensor([1]), Candidates())) == 0
    assert float(softmax_loss(states, vectors, torch.tensor([2]), Candidates())) == 2000


def test_gradients_agree_with_finite_differences(problem):
    states, vectors, targets = problem
    some = Candidates(torch.unique(targets), torch.linspace(-2, 0, len(torch.unique(targets)), dtype=torch.float64))
    for candidates in (Candidates(), some):
        assert torch.autograd.gradcheck(lambda h, v, c=candidates: softmax_loss(h, v, targets, c), (states, vectors))


def test_one_gradient_can_be_computed_alone(problem):
    states, vectors, targets = problem
    alone = softmax_loss(states.detach(), vectors, targets, Candidates())
    both = softmax_loss(states, vectors, targets, Candidates())
    torch.testing.assert_close(torch.autograd.grad(alone, vectors)[0], torch.autograd.grad(both, vectors)[0])
    with torch.no_grad():
        assert float(softmax_loss(states, vectors, targets, Candidates())) == pytest.approx(float(both.detach()))


def test_sampled_softmax_of_all_items_is_the_full_softmax(problem):
    states, vectors, targets = problem
    # More items than the catalogue has.
    sampled = SampledSoftmax(SampledSoftmaxConfig(uniform_items=1500), np.arange(ITEMS))
    candidates = sampled.candidates(targets.numpy(), np.random.default_rng(0))
    assert candidates.items.tolist() == list(range(1, ITEMS + 1))
    assert (candidates.log_inclusion == 0).all()
    ours = softmax_loss(states, vectors, targets, candidates)
    full = softmax_loss(states, vectors, targets, Candidates())
    torch.testing.assert_close(ours, full, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(ours, (states, vectors)), torch.autograd.grad(full, (states, vectors)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_sampled_softmax_equals_the_formula_in_loops(problem):
    states, vectors, targets = problem
    targets = (targets - 1) % 7 + 1
    counts = np.arange(ITEMS)
    candidates = SampledSoftmax(SampledSoftmaxConfig(uniform_items=6), counts).candidates(
        targets.numpy(), np.random.default_rng(1)
    )
    total = 0.0
    for h, t in zip(states.tolist(), targets.tolist(), strict=True):

        def score(j, h=h):
            return math.fsum(x * y for x, y in zip(h, vectors[j - 1].tolist(), strict=True))

        partition = math.exp(score(t))
        for j in candidates.items.tolist():
            if j != t:
                share = counts[j - 1] / counts.sum()
                inclusion = 1 - (1 - share) ** N * (1 - 6 / ITEMS)
                partition += math.exp(score(j)) / inclusion
        total += -score(t) + math.log(partition)
    ours = float(softmax_loss(states, vectors, targets, candidates).detach())
    assert ours == pytest.approx(total / N, rel=1e-6)  # π is kept in float32


def test_shared_candidates_contain_all_targets_once_and_sorted():
    rng = np.random.default_rng(2)
    sampled = SampledSoftmax(SampledSoftmaxConfig(uniform_items=20), np.ones(500))
    for _ in range(20):
        targets = rng.integers(1, 501, 60)
        items = sampled.candidates(targets, rng).items.numpy()
        assert np.isin(targets, items).all()
        assert (np.diff(items) > 0).all()
        assert items[0] >= 1
        assert items[-1] <= 500
        assert 20 <= len(items) <= 80


def test_estimate_of_the_partition_sum_has_no_bias():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 40, 50)
    counts[:5] = 0  # never a target: only the uniform draw finds them
    exponentials = np.exp(rng.normal(size=50))
    sampled = SampledSoftmax(SampledSoftmaxConfig(uniform_items=8), counts)
    estimates = []
    for _ in range(6000):
        candidates = sampled.candidates(rng.choice(50, 20, p=counts / counts.sum()) + 1, rng)
        estimates.append((exponentials[candidates.items - 1] / np.exp(candidates.log_inclusion.numpy())).sum())
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(exponentials.sum(), abs=4 * error)
    assert 4 * error < 0.02 * exponentials.sum()  # otherwise the check above is too weak


def test_every_step_draws_new_candidates_and_a_seed_repeats_them():
    sampled = SampledSoftmax(SampledSoftmaxConfig(uniform_items=20), np.ones(500))
    targets = np.array([1, 2, 3])
    rng = np.random.default_rng(4)
    first, second = sampled.candidates(targets, rng), sampled.candidates(targets, rng)
    again = sampled.candidates(targets, np.random.default_rng(4))
    assert first.items.tolist() == again.items.tolist()
    assert first.items.tolist() != second.items.tolist()


def test_configuration_names_the_loss():
    assert isinstance(build_loss(FullSoftmaxConfig(), np.ones(3)), FullSoftmax)
    assert isinstance(build_loss(SampledSoftmaxConfig(), np.ones(3)), SampledSoftmax)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_modulation_has_the_value_and_gradients_of_its_formula(problem, gamma):
    states, vectors, targets = problem
    log_p = F.log_softmax(states @ vectors.T, -1).gather(1, targets[:, None] - 1)
    theirs = -((1 - log_p.exp()) ** gamma * log_p).mean()
    loss = build_loss(FullSoftmaxConfig(focal=gamma), np.ones(ITEMS))
    ours = loss(states, vectors, targets, loss.candidates(targets.numpy(), np.random.default_rng(0)))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (states, vectors)),
        torch.autograd.grad(3 * theirs, (states, vectors)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_focal_modulation_is_finite_for_probabilities_near_zero_and_one(gamma):
    states, vectors = torch.tensor([[1000.0]]).requires_grad_(), torch.tensor([[1.0], [-1.0]])
    for target, expected in ((1, 0.0), (2, 2000.0)):
        value = softmax_loss(states, vectors, torch.tensor([target]), Candidates(), gamma)
        assert float(value.detach()) == expected
        assert torch.isfinite(torch.autograd.grad(value, states)[0]).all()


def test_focal_modulation_applies_to_the_sampled_softmax(problem):
    states, vectors, targets = problem
    losses = [build_loss(SampledSoftmaxConfig(uniform_items=5, focal=g), np.ones(ITEMS)) for g in (0.0, 2.0)]
    drawn = losses[0].candidates(targets.numpy(), np.random.default_rng(0))
    plain, focal = (float(loss(states, vectors, targets, drawn).detach()) for loss in losses)
    assert focal < plain
