"""Deconfounded aggregation: properties on families of matrices, pinned values, equivalences, the moving average."""

import math

import pytest
import torch
from matrices import MATRICES, random
from torchjd import autojac
from torchjd.aggregation import GramianWeightedAggregator, Mean

from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.aggregation.deconfounded import Deconfounded, DeconfoundedWeighting
from pinet_kedro.aggregation.group_gradients import GroupGradients
from pinet_kedro.aggregation.priors import backdoor
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.backbones.sasrec import SASRec
from pinet_kedro.losses.softmax import Candidates, softmax_loss

EXACT = {"rtol": 1e-10, "atol": 1e-12}


SETTINGS = [(1.0, True), (1.0, False), (0.01, True), (50.0, True), (None, True), (None, False)]

on_all_matrices = pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
in_all_settings = pytest.mark.parametrize(("temperature", "gate"), SETTINGS)


def skewed(groups: int) -> torch.Tensor:
    weights = torch.arange(1, groups + 1, dtype=torch.float64)
    return weights / weights.sum()


def naive_weights(matrix, p, temperature, gate) -> list[float]:
    """The formula of the docstring in loops over Python numbers."""
    rows = [[float(x) for x in row] for row in matrix]
    groups = range(len(rows))

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    def cosine(a, b):
        lengths = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
        return dot(a, b) / lengths if lengths > 0 else 0.0

    mean = [math.fsum(float(p[a]) * rows[a][j] for a in groups) for j in range(len(rows[0]))]
    kept = [a for a in groups if not gate or dot(rows[a], mean) > 0] or list(groups)
    raw = [0.0] * len(rows)
    agreement = {a: sum(cosine(rows[a], rows[b]) for b in kept) for a in kept}
    for a in kept:
        strength = 0.0 if temperature is None else (agreement[a] - max(agreement.values())) / temperature
        raw[a] = float(p[a]) * math.exp(strength)
    return [value / sum(raw) for value in raw]


def assert_is_distribution(weights):
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))


def assert_permutes_with_rows(matrix, p, temperature, gate):
    order = torch.randperm(len(matrix), generator=torch.Generator().manual_seed(9))
    straight = DeconfoundedWeighting(p, temperature, gate)(matrix @ matrix.T)
    permuted = DeconfoundedWeighting(p[order], temperature, gate)(matrix[order] @ matrix[order].T)
    torch.testing.assert_close(permuted, straight[order], **EXACT)


def assert_ignores_common_scale(weighting, matrix):
    weights = weighting(matrix @ matrix.T)
    for scale in (1e-4, 0.3, 1e4):
        scaled = scale * matrix
        torch.testing.assert_close(weighting(scaled @ scaled.T), weights, **EXACT)


@on_all_matrices
@in_all_settings
def test_weights_are_a_distribution(matrix, temperature, gate):
    for p in (None, skewed(len(matrix))):
        assert_is_distribution(DeconfoundedWeighting(p, temperature, gate)(matrix @ matrix.T))


@on_all_matrices
@in_all_settings
def test_weights_permute_with_the_strata(matrix, temperature, gate):
    assert_permutes_with_rows(matrix, skewed(len(matrix)), temperature, gate)


@on_all_matrices
@in_all_settings
def test_weights_ignore_a_common_scale(matrix, temperature, gate):
    assert_ignores_common_scale(DeconfoundedWeighting(skewed(len(matrix)), temperature, gate), matrix)


@on_all_matrices
@in_all_settings
def test_weights_equal_the_formula_in_loops(matrix, temperature, gate):
    p = skewed(len(matrix))
    expected = torch.tensor(naive_weights(matrix, p, temperature, gate), dtype=torch.float64)
    torch.testing.assert_close(DeconfoundedWeighting(p, temperature, gate)(matrix @ matrix.T), expected, **EXACT)


def public_formula(gradients: torch.Tensor) -> torch.Tensor:
    """One tensor's gradient in the public code of the paper's first author: no prior, no average, no temperature."""
    units = torch.nn.functional.normalize(gradients, dim=1)
    keep = torch.nn.functional.cosine_similarity(gradients, gradients.mean(0)[None]) > 0
    keep = keep if keep.any() else ~keep
    cosines = units[keep] @ units[keep].T
    return cosines.sum(1).softmax(0) @ gradients[keep]


@on_all_matrices
@pytest.mark.parametrize("tensors", [1, 2])
def test_without_prior_and_average_it_is_the_formula_of_the_papers_author(matrix, tensors):
    sizes = [matrix.shape[1]] if tensors == 1 else [2, matrix.shape[1] - 2]
    expected = torch.cat([public_formula(block) for block in matrix.split(sizes, 1)])
    torch.testing.assert_close(
        Deconfounded(DeconfoundedConfig(decay=0), sizes)(matrix), expected, rtol=1e-8, atol=1e-10
    )


@on_all_matrices
@in_all_settings
def test_gramian_path_in_torchjd_equals_ours_on_the_matrix(matrix, temperature, gate):
    p = skewed(len(matrix))
    ours = Deconfounded(DeconfoundedConfig(decay=0, temperature=temperature, gate=gate, scope="global"))
    ours.weighting.prior = p
    theirs = GramianWeightedAggregator(DeconfoundedWeighting(p, temperature, gate))
    torch.testing.assert_close(ours(matrix), theirs(matrix), rtol=1e-8, atol=1e-10)


@on_all_matrices
def test_uniform_prior_without_consensus_is_torchjd_mean(matrix):
    plain = Deconfounded(DeconfoundedConfig(temperature=None, gate=False))
    torch.testing.assert_close(plain(matrix), Mean()(matrix), **EXACT)


A, B = math.e, math.exp(0.5)
SQUARE = math.exp(1 + math.sqrt(0.5))
PINNED = [
    ("orthogonal", [[1, 0], [0, 1]], None, 1.0, True, [0.5, 0.5]),
    ("orthogonal keeps the prior", [[1, 0], [0, 9]], [0.8, 0.2], 1.0, True, [0.8, 0.2]),
    ("opposed, gated", [[1, 0], [-2, 0]], None, 1.0, True, [0, 1]),
    ("opposed, not gated", [[1, 0], [-2, 0]], None, 1.0, False, [0.5, 0.5]),
    ("two agree", [[1, 0], [1, 0], [0, 1]], None, 1.0, True, [A / (2 * A + 1), A / (2 * A + 1), 1 / (2 * A + 1)]),
    ("two agree, literally", [[1, 0], [1, 0], [0, 1]], None, 1.0, True, [0.4223188, 0.4223188, 0.1553624]),
    (
        "two agree, warmer",
        [[1, 0], [1, 0], [0, 1]],
        None,
        2.0,
        True,
        [B / (2 * B + 1), B / (2 * B + 1), 1 / (2 * B + 1)],
    ),
    ("no temperature", [[1, 0], [1, 0], [0, 1]], [0.2, 0.3, 0.5], None, False, [0.2, 0.3, 0.5]),
    ("zero row, gated", [[3, 0], [1, 1], [0, 0]], None, 1.0, True, [0.5, 0.5, 0]),
    (
        "zero row, not gated",
        [[3, 0], [1, 1], [0, 0]],
        None,
        1.0,
        False,
        [SQUARE / (2 * SQUARE + 1), SQUARE / (2 * SQUARE + 1), 1 / (2 * SQUARE + 1)],
    ),
    ("the prior turns the mean", [[1, 0], [1, 0], [-1, 0]], [0.1, 0.1, 0.8], 1.0, True, [0, 0, 1]),
    ("gate without temperature", [[1, 0], [-3, 0], [-1, 0]], [0.5, 0.3, 0.2], None, True, [0, 0.6, 0.4]),
]


@pytest.mark.parametrize(
    ("rows", "p", "temperature", "gate", "expected"), [case[1:] for case in PINNED], ids=[case[0] for case in PINNED]
)
def test_pinned_weights(rows, p, temperature, gate, expected):
    matrix = torch.tensor(rows, dtype=torch.float64)
    p = None if p is None else torch.tensor(p, dtype=torch.float64)
    weights = DeconfoundedWeighting(p, temperature, gate)(matrix @ matrix.T)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_opposed_pair_keeps_only_the_longer():
    short, long = torch.tensor([[0.5, -1.0], [-1.5, 3.0]])
    out = Deconfounded(DeconfoundedConfig())(torch.stack([short, long]))
    torch.testing.assert_close(out, long)


def test_stratum_opposed_to_the_mean_is_dropped():
    matrix = torch.cat([random(1, 11) + 0.01 * random(4, 12), -random(1, 11)])
    gated = DeconfoundedWeighting(gate=True)(matrix @ matrix.T)
    open_ = DeconfoundedWeighting(gate=False)(matrix @ matrix.T)
    assert gated[4] == 0
    assert open_[4] > 0
    assert (gated[:4] > 0).all()


def test_no_kept_stratum_falls_back_to_all():
    matrix = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])  # the mean is exactly zero
    torch.testing.assert_close(DeconfoundedWeighting()(matrix @ matrix.T), torch.tensor([0.5, 0.5]))


def test_a_dropped_stratum_with_high_agreement_does_not_make_kept_weights_underflow():
    # The third row opposes the mean, which the fourth dominates, and yet agrees with the kept rows most of all.
    matrix = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0.3], [0, 0, -20]])
    weights = DeconfoundedWeighting(temperature=1e-3)(matrix @ matrix.T)
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 1 / 3, 0, 1 / 3]))


def test_an_agreeing_stratum_exceeds_its_prior_more_at_lower_temperature():
    matrix = torch.tensor([[1.0, 0.1], [1, -0.1], [0, 1]])
    weights = [float(DeconfoundedWeighting(temperature=t)(matrix @ matrix.T)[0]) for t in (None, 4.0, 1.0, 0.25)]
    assert weights == sorted(weights)
    assert weights[0] < 1 / 3 + 1e-6 < weights[1]


def test_batch_of_gramians_equals_one_by_one():
    gramians = torch.stack([random(4, seed) @ random(4, seed).T for seed in range(3)])
    weighting = DeconfoundedWeighting(skewed(4))
    torch.testing.assert_close(weighting(gramians), torch.stack([weighting(g) for g in gramians]), **EXACT)


class TestMovingAverage:
    first, second, third = random(3, 21), random(3, 22), random(3, 23)

    def config(self, **changes):
        return DeconfoundedConfig(**{"decay": 0.9, "scope": "global", "gate": True, **changes})

    def test_first_step_uses_the_raw_gradient(self):
        aggregator = Deconfounded(self.config())
        raw = DeconfoundedWeighting()(self.first @ self.first.T)
        torch.testing.assert_close(aggregator(self.first), raw @ self.first, **EXACT)

    def test_weights_come_from_the_average_and_apply_to_the_step(self):
        aggregator = Deconfounded(self.config())
        aggregator(self.first)
        aggregator(self.second)
        out = aggregator(self.third)
        average = 0.81 * self.first + 0.09 * self.second + 0.1 * self.third
        weights = DeconfoundedWeighting()(average @ average.T)
        torch.testing.assert_close(aggregator.averages[0].value, average, **EXACT)
        torch.testing.assert_close(aggregator.weights[0], weights, **EXACT)
        torch.testing.assert_close(out, weights @ self.third, **EXACT)

    def test_without_decay_only_the_current_step_counts(self):
        aggregator = Deconfounded(self.config(decay=0))
        aggregator(self.first)
        torch.testing.assert_close(aggregator(self.second), Deconfounded(self.config())(self.second), **EXACT)

    def test_reset_forgets(self):
        aggregator = Deconfounded(self.config())
        aggregator(self.first)
        remembered = aggregator(self.second)
        aggregator.reset()
        fresh = aggregator(self.second)
        torch.testing.assert_close(fresh, Deconfounded(self.config())(self.second), **EXACT)
        assert not torch.allclose(remembered, fresh)

    def test_average_survives_the_reuse_of_the_matrix(self):
        matrix = self.first.clone()
        aggregator = Deconfounded(self.config())
        aggregator(matrix)
        matrix.zero_()
        torch.testing.assert_close(aggregator.averages[0].value, self.first, **EXACT)


class TestScope:
    # The first tensor's rows agree, the second's are opposed and long.
    matrix = torch.tensor([[1.0, 0.1, 5.0, 0.0], [1.0, 0.0, -20.0, 0.0]])

    def test_each_tensor_has_its_own_weights(self):
        aggregator = Deconfounded(DeconfoundedConfig(scope="tensor"), [2, 2])
        out = aggregator(self.matrix)
        blocks = [Deconfounded(DeconfoundedConfig())(block) for block in self.matrix.split(2, 1)]
        torch.testing.assert_close(out, torch.cat(blocks))
        assert aggregator.weights.shape == (2, 2)
        torch.testing.assert_close(aggregator.weights, torch.tensor([[0.5, 0.5], [0.0, 1.0]]))

    def test_global_scope_lets_the_longest_tensor_decide(self):
        aggregator = Deconfounded(DeconfoundedConfig(scope="global"), [2, 2])
        torch.testing.assert_close(aggregator(self.matrix), self.matrix[1])
        assert aggregator.weights.shape == (1, 2)


@pytest.fixture(scope="module")
def sasrec_losses():
    """A small SASRec in float64, and the losses of three strata on separate batches."""
    torch.manual_seed(0)
    model = SASRec(SASRecConfig(width=8, blocks=1, heads=2, max_length=6, dropout=0), n_items=20).double()
    rng = torch.Generator().manual_seed(1)
    batches = [torch.randint(1, 21, (size, length), generator=rng) for size, length in ((4, 3), (3, 5), (2, 7))]

    def loss(batch):
        states = model.states(batch[:, :-1]).flatten(0, 1)
        return softmax_loss(states, model.item_vectors(), batch[:, 1:].flatten(), Candidates())

    return model, [lambda batch=batch: loss(batch) for batch in batches]


def test_backdoor_is_the_gradient_of_the_prior_weighted_loss(sasrec_losses):
    model, losses = sasrec_losses
    shares = torch.tensor([[0.15, 0.25, 0.6], [0.5, 0.3, 0.2]], dtype=torch.float64)
    p = backdoor(*shares, 0.7)
    gradients = GroupGradients(model.parameters(), 3)
    aggregator = Deconfounded(DeconfoundedConfig(temperature=None, gate=False), gradients.sizes)
    aggregator.weighting.prior = p
    ours = aggregator(gradients.compute(losses)[0])
    weighted = torch.autograd.grad(sum(w * loss() for w, loss in zip(p, losses, strict=True)), list(model.parameters()))
    torch.testing.assert_close(ours, torch.cat([g.flatten() for g in weighted]), **EXACT)


@pytest.mark.parametrize("in_parts", [False, True], ids=["jacobian", "gramian"])
def test_weighting_works_in_torchjd_autojac_unchanged(sasrec_losses, in_parts):
    model, losses = sasrec_losses
    parameters = list(model.parameters())
    gradients = GroupGradients(parameters, 3)
    ours = Deconfounded(DeconfoundedConfig(scope="global"))
    expected = ours(gradients.compute(losses)[0])
    model.zero_grad()
    autojac.backward([loss() for loss in losses], inputs=parameters)
    aggregator = GramianWeightedAggregator(DeconfoundedWeighting())
    weights = autojac.jac_to_grad(parameters, aggregator, optimize_gramian_computation=in_parts)
    torch.testing.assert_close(weights, ours.weights[0], **EXACT)
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), expected, rtol=1e-8, atol=1e-12)


def test_aggregator_works_in_torchjd_autojac_unchanged(sasrec_losses):
    model, losses = sasrec_losses
    parameters = list(model.parameters())
    gradients = GroupGradients(parameters, 3)
    expected = Deconfounded(DeconfoundedConfig(), gradients.sizes)(gradients.compute(losses)[0])
    model.zero_grad()
    autojac.backward([loss() for loss in losses], inputs=parameters)
    autojac.jac_to_grad(parameters, Deconfounded(DeconfoundedConfig(), gradients.sizes))
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), expected, rtol=1e-8, atol=1e-12)
