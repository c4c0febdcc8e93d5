"""Plugins: prediction spaces, memory and factors compared with loops and libraries, and fits on planted data."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.activeness import Strata
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.evidence import gather_evidence
from pinet_kedro.fitting import candidates as collecting
from pinet_kedro.fitting.candidates import collect_examples
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Split, Splitting, split_sequences
from pinet_kedro.plugins.config import FactorsConfig, MemoryConfig, PluginTraining
from pinet_kedro.plugins.factors import ImplicitFactors
from pinet_kedro.plugins.memory import build_memory
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.plugins.spaces import Evidence, LogitSpace, StateSpace
from prepared import as_dataset

LOG = [[3, 1, 3, 2, 5, 4], [2, 5, 2, 1], [4, 4, 1], [5]]
ITEMS = 6  # item 6 is never seen


@pytest.fixture
def log():
    sequences = Sequences(
        items=np.concatenate(LOG).astype(np.int32),
        timestamps=np.zeros(14, np.int64),
        offsets=np.cumsum([0, *map(len, LOG)]).astype(np.int64),
    )
    none = np.full(4, -1)
    return as_dataset(
        sequences, Split(train_end=np.array([5, 4, 2, 0]), valid_at=none, test_at=none, test_from=none), ITEMS
    )


TRAINED = [[3, 1, 3, 2, 5], [2, 5, 2, 1], [4, 4], []]


def evidence(users=7, items=9, width=4, columns=False):
    rng = torch.Generator().manual_seed(0)
    picked = torch.randint(0, items, (users, 5), generator=rng) if columns else None
    wide = items if picked is None else 5
    return Evidence(
        scores=torch.randn(users, wide, generator=rng),
        states=torch.randn(users, width, generator=rng),
        vectors=torch.randn(items, width, generator=rng),
        terms=(torch.rand(users, wide, generator=rng), -torch.rand(wide, generator=rng)),
        columns=picked,
    )


@pytest.mark.parametrize("space", [LogitSpace(2), StateSpace(4, 3, seed=1)], ids=["logit", "state"])
@pytest.mark.parametrize("columns", [False, True], ids=["catalogue", "candidates"])
def test_start_gives_the_scores_of_the_backbone(space, columns):
    e = evidence(columns=columns)
    torch.testing.assert_close(space.logits(space.start(), e), e.scores, rtol=0, atol=0)


@pytest.mark.parametrize("backbone", [True, False])
def test_logit_space_equals_its_formula(backbone):
    e = evidence()
    tau, w, alpha = theta = torch.tensor([0.7, 2.0, -0.3])
    z = LogitSpace(2, backbone).logits(theta, e)
    for u in range(7):
        for j in range(9):
            expected = tau * backbone * e.scores[u, j] + w * e.terms[0][u, j] + alpha * e.terms[1][j]
            torch.testing.assert_close(z[u, j], expected)


@pytest.mark.parametrize(
    ("items", "columns"), [(9, False), (9, True), (50, True)], ids=["catalogue", "candidates", "few candidates"]
)
def test_state_space_scores_the_changed_state(items, columns):
    e = evidence(items=items, columns=columns)
    theta = torch.randn(2 * 3 * 4, generator=torch.Generator().manual_seed(2))
    inner, outer = theta[:12].view(3, 4), theta[12:].view(3, 4)
    change = torch.nn.functional.gelu(e.states @ inner.T) @ outer
    z = StateSpace(4, 3, seed=1).logits(theta, e)
    for u in range(7):
        for c in range(z.shape[1]):
            item = c if e.columns is None else e.columns[u, c]
            torch.testing.assert_close(z[u, c] - e.scores[u, c], change[u] @ e.vectors[item], rtol=1e-4, atol=1e-5)


def test_popularity_counts_training_events_and_the_last_two_of_each_user(log):
    popularity = count_popularity(log)
    assert popularity.counts.tolist() == [2, 3, 2, 2, 2, 0]
    assert popularity.recent.tolist() == [1, 2, 0, 2, 1, 0]
    np.testing.assert_allclose(popularity.log_popularity, np.log([3, 4, 3, 3, 3, 1]), rtol=1e-6)
    np.testing.assert_allclose(popularity.log_recency, np.log([2 / 4, 3 / 5, 1 / 4, 3 / 4, 2 / 4, 1 / 2]), rtol=1e-6)


MEMORIES = [
    MemoryConfig(),
    MemoryConfig(max_lag=1, reverse=0),
    MemoryConfig(max_lag=2, lag_exponent=0),
    MemoryConfig(max_lag=3, lag_exponent=1, reverse=0.25),
]


def naive_memory(config):
    n = np.zeros((ITEMS, ITEMS))
    for history in TRAINED:
        for i, first in enumerate(history):
            for k in range(1, config.max_lag + 1):
                if i + k < len(history):
                    n[first - 1, history[i + k] - 1] += k**-config.lag_exponent
    both = n + config.reverse * n.T
    counts = [sum(h.count(j + 1) for h in TRAINED) + 1 for j in range(ITEMS)]
    return np.array([[both[i, j] / (counts[i] * counts[j]) ** 0.5 for j in range(ITEMS)] for i in range(ITEMS)])


@pytest.mark.parametrize("config", MEMORIES)
def test_memory_equals_a_loop_over_training_pairs(log, config):
    memory = build_memory(log, config)
    np.testing.assert_allclose(memory.matrix.toarray(), naive_memory(config), rtol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_memory_keeps_the_strongest_neighbours_of_every_item(log, neighbours):
    kept = build_memory(log, MemoryConfig(neighbours=neighbours)).matrix.toarray()
    whole = build_memory(log, MemoryConfig()).matrix.toarray()
    strongest = np.argsort(-whole, axis=1, kind="stable")[:, :neighbours]  # of equal ones the lower items
    expected = np.zeros_like(whole)
    np.put_along_axis(expected, strongest, np.take_along_axis(whole, strongest, 1), 1)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize(
    ("neighbours", "pairs"), [pytest.param(5, 1, marks=pytest.mark.slow), (1000, 50), (5, 1000), (1000, 1000)]
)
def test_memory_does_not_depend_on_the_number_of_pairs_per_block(planted_world, monkeypatch, pairs, neighbours):
    w, config = planted_world, MemoryConfig(neighbours=neighbours)
    whole = build_memory(w.dataset, config).matrix
    monkeypatch.setattr("pinet_kedro.plugins.memory._PAIRS", pairs)
    parts = build_memory(w.dataset, config).matrix
    np.testing.assert_array_equal(parts.indptr, whole.indptr)
    np.testing.assert_array_equal(parts.indices, whole.indices)
    np.testing.assert_allclose(parts.data, whole.data, rtol=1e-6)


def test_memory_without_events_is_empty():
    nothing = Sequences(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(1, np.int64))
    nobody = np.zeros(0, np.int64)
    memory = build_memory(as_dataset(nothing, Split(nobody, nobody, nobody, nobody), ITEMS), MemoryConfig())
    assert memory.matrix.shape == (ITEMS, ITEMS)
    assert memory.matrix.nnz == 0


@pytest.mark.parametrize("window", [1, 3, 10])
def test_recall_weights_the_newest_items_by_their_age(log, window):
    config = MemoryConfig(window=window, decay=0.8)
    memory = build_memory(log, config)
    histories = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 4, 2], [1, 2, 2, 3, 5]])
    expected = np.zeros((3, ITEMS))
    for u, history in enumerate(histories):
        for age, item in enumerate(history[::-1][:window]):
            if item:
                expected[u] += 0.8**age * naive_memory(config)[item - 1]
    recalled = memory.recall(histories).toarray()
    np.testing.assert_allclose(recalled, expected, rtol=1e-5, atol=1e-7)
    assert (recalled[0] == 0).all()


def test_factors_of_users_equal_those_of_the_library(log):
    """`recalculate_user` of implicit solves the same equations, once for each user."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy import sparse

    config = FactorsConfig(factors=3, regularization=0.5, confidence=7.0)
    factors = ImplicitFactors.fit(log, config)
    histories = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 4, 2], [1, 2, 2, 3, 5]])
    liked = sparse.csr_matrix((np.ones(6, np.float32), ([1, 1, 2, 2, 2, 2], [3, 1, 0, 1, 2, 4])), shape=(3, ITEMS))
    library = AlternatingLeastSquares(3, regularization=0.5, alpha=7.0, use_cg=False)
    library.item_factors = factors.items.numpy()
    expected = library.recalculate_user(np.arange(3), liked) @ library.item_factors.T
    np.testing.assert_allclose(factors.affinity(histories), expected, rtol=1e-4, atol=1e-5)
    assert (factors.affinity(histories)[0] == 0).all()


def test_factors_use_only_the_newest_events_and_are_reproducible(log):
    config = FactorsConfig(factors=3, window=2)
    factors = ImplicitFactors.fit(log, config)
    assert torch.equal(factors.items, ImplicitFactors.fit(log, config).items)
    long, short = np.array([[1, 3, 4, 2]]), np.array([[0, 0, 2, 4]])  # which are newest counts, their order does not
    torch.testing.assert_close(factors.affinity(long), factors.affinity(short))


def test_the_search_finds_the_best_memory(planted_world, caplog):
    """In the planted world an item depends on the one before it alone: the shortest memory wins."""
    w = planted_world
    with caplog.at_level("INFO"):
        chosen = build_scorers(w.dataset, w.popularity, PluginTraining(factors=None))
    assert chosen.memory.config.max_lag == 3
    assert "Memory: max_lag 3" in caplog.text
    expected = build_memory(w.dataset, chosen.memory.config)
    assert (chosen.memory.matrix != expected.matrix).nnz == 0
    given = PluginTraining(memory_search=None, memory=MemoryConfig(max_lag=4))
    assert build_scorers(w.dataset, w.popularity, given).memory.config == given.memory


def test_without_backbone_its_scores_are_ignored(planted_world, untrained, joint_backbone):
    settings = {"backbone": False, "hard_candidates": 1000}  # the whole catalogue: candidates do not depend on scores
    ours, theirs = (fit(planted_world, backbone, **settings)[0] for backbone in (untrained, joint_backbone))
    torch.testing.assert_close(ours.theta, theirs.theta, rtol=1e-3, atol=1e-3)
    assert (ours.theta[:, 0] == 0).all()


def held_out(world, model_logits, at):
    """Mean −log softmax of the events at these positions over what is on offer."""
    users = np.flatnonzero(at > 0)
    at = at[users]
    scores = model_logits(torch.from_numpy(world.sequences.windows(users, at, 10)), at).clone()
    target = torch.from_numpy(world.sequences.items[world.sequences.offsets[users] + at].astype(np.int64) - 1)[:, None]
    if world.split.exclude_seen:
        scores[seen_items(world.sequences, users, at)] = -torch.inf
    return float((scores.logsumexp(1) - scores.gather(1, target)[:, 0]).mean())


def loss_with(world, backbone, plugins, at):
    def logits(histories, lengths):
        everything = gather_evidence(backbone, plugins.scorers, histories)
        return plugins.logits(everything, world.strata.training.assign(lengths)).detach()

    return held_out(world, logits, at)


def loss_without(world, backbone, at):
    return held_out(world, lambda h, _: backbone.states(h)[:, -1].detach() @ backbone.item_vectors().detach().T, at)


def fit(world, backbone, /, **settings):
    return fit_on(world, backbone, world.sequences, PluginTraining(**settings))


def fit_on(w, backbone, sequences, config, strata=None):
    dataset = replace(w.dataset, sequences=sequences, strata=strata or w.strata)
    return fit_plugins(backbone, dataset, build_scorers(dataset, w.popularity, config), config)


@pytest.fixture(scope="module")
def untrained(planted_world, small_training):
    torch.manual_seed(0)
    return build_backbone(small_training.backbone, planted_world.n_items).eval()


@pytest.mark.parametrize(
    ("kind", "exclude_seen"), [("logit_space", True), ("logit_space", False), ("state_space", True)]
)
def test_fit_improves_the_validation_loss(planted_world, joint_backbone, kind, exclude_seen):
    split = split_sequences(planted_world.sequences, Splitting(), ExcludeSeen(exclude_seen))
    w = planted_world.having(split=split)
    by_stratum, shared = fit(w, joint_backbone, kind=kind)
    before = loss_without(w, joint_backbone, split.valid_at)
    assert loss_with(w, joint_backbone, shared, split.valid_at) < before - 1e-3
    assert loss_with(w, joint_backbone, by_stratum, split.valid_at) < before - 1e-3


def test_memory_alone_improves_test_targets(planted_world, untrained):
    by_stratum, shared = fit(planted_world, untrained)
    at = planted_world.split.test_at
    before = loss_without(planted_world, untrained, at)
    assert loss_with(planted_world, untrained, shared, at) < before - 0.5
    assert loss_with(planted_world, untrained, by_stratum, at) < before - 0.5
    assert (by_stratum.theta[:, 1] > 0).all()


def test_shared_fit_is_the_same_for_every_stratum(planted_world, untrained):
    by_stratum, shared = fit(planted_world, untrained)
    assert shared.choice == ("shared",) * 5
    assert (shared.theta == shared.theta[0]).all()
    for theta, choice in zip(by_stratum.theta, by_stratum.choice, strict=True):
        expected = {"none": LogitSpace(4).start(), "shared": shared.theta[0]}.get(choice)
        assert expected is None or torch.equal(theta, expected)


def test_stratum_without_gain_keeps_the_backbone(planted_world, untrained):
    """The targets of the least active users are drawn anew at random: nothing predicts them."""
    items = planted_world.sequences.items.copy()
    split = planted_world.split
    least = np.flatnonzero(planted_world.strata.training.assign(split.train_end) == 0)
    places = planted_world.sequences.offsets[least] + split.valid_at[least]
    items[places] = np.random.default_rng(0).integers(1, planted_world.n_items + 1, len(least))
    spoilt = Sequences(items, planted_world.sequences.timestamps, planted_world.sequences.offsets)
    by_stratum, _ = fit_on(planted_world, untrained, spoilt, PluginTraining())
    assert by_stratum.choice[0] == "none"
    assert "none" not in by_stratum.choice[1:]
    assert by_stratum.theta[0].tolist() == [1, 0, 0, 0, 0]


def test_strata_with_opposite_tastes_get_their_own_plugins(planted_world, untrained):
    """The least active take the most popular unseen item, the others the least popular one."""
    split, counts = planted_world.split, planted_world.popularity.counts
    items = planted_world.sequences.items.copy()
    least = planted_world.strata.training.assign(split.train_end) == 0
    for u, (start, at) in enumerate(zip(planted_world.sequences.offsets, split.valid_at, strict=False)):
        unseen = np.setdiff1d(np.arange(1, planted_world.n_items + 1), items[start : start + at])
        by_count = unseen[np.argsort(counts[unseen - 1])]
        items[start + at] = by_count[-1] if least[u] else by_count[0]
    turned = Sequences(items, planted_world.sequences.timestamps, planted_world.sequences.offsets)
    by_stratum, shared = fit_on(planted_world, untrained, turned, PluginTraining(ridge=1))
    assert by_stratum.choice[0] == "own"
    assert by_stratum.theta[0, 3] > 0 > shared.theta[0, 3]


def test_a_larger_ridge_keeps_strata_closer_to_the_shared_plugin(planted_world, untrained):
    w = planted_world
    config = PluginTraining(ridge=0)
    scorers = build_scorers(w.dataset, w.popularity, config)
    examples = collect_examples(untrained, w.dataset, w.dataset.validation_users, scorers, config)
    group = np.flatnonzero(w.strata.training.assign(w.split.train_end[examples.users]) == 0)
    space = LogitSpace(4)
    center = space.start()
    distances = [
        float((collecting.fit(space, examples, group, center, ridge) - center).norm()) for ridge in (0, 20, 2000, 2e6)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 10 * distances[2]
    assert distances[3] < 1e-2


def test_weighted_candidates_estimate_the_sum_over_all_unseen_items():
    """Target and hard candidates count once, random ones as many as they stand for; never a seen item, none twice."""
    users, items = 4, 40
    everything = evidence(users, items)
    seen = (torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([1, 7, 30, 4, 5, 6]))
    target = torch.tensor([[0], [8], [39], [20]])
    free = torch.ones(users, items, dtype=torch.bool)
    free[seen] = False
    truth = everything.scores.exp().where(free, 0.0).sum(1)
    rng = torch.Generator().manual_seed(0)
    estimates = []
    for _ in range(800):
        config = PluginTraining(hard_candidates=5, random_candidates=8)
        some, log_weight = collecting._candidates(everything, seen, target, config, rng)
        assert (some.columns[:, 0] == target[:, 0]).all()
        assert (log_weight[:, :6] == 0).all()
        for columns, counts in zip(some.columns, log_weight > -torch.inf, strict=True):
            assert len(columns[counts].unique()) == counts.sum()
        assert free.gather(1, some.columns)[log_weight > -torch.inf].all()
        estimates.append((log_weight + some.scores).exp().sum(1))
    found = torch.stack(estimates)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - truth).abs() < 4 * error).all()


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_a_catalogue_smaller_than_the_number_of_candidates_is_used_completely(exclude_seen):
    everything = evidence(3, 9)
    seen = (torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3])) if exclude_seen else None
    targets, rng = torch.tensor([[0], [0], [8]]), torch.Generator().manual_seed(0)
    some, log_weight = collecting._candidates(everything, seen, targets, PluginTraining(), rng)
    total = (log_weight + some.scores).exp().sum(1)
    free = torch.ones(3, 9, dtype=torch.bool)
    if seen:
        free[seen] = False
    torch.testing.assert_close(total, everything.scores.exp().where(free, 0.0).sum(1))


def test_backbone_of_equal_scores_can_be_fitted(planted_world, untrained):
    flat = copy.deepcopy(untrained)
    flat.items.weight.data.zero_()
    _, shared = fit(planted_world, flat)
    assert torch.isfinite(shared.theta).all()
    assert shared.theta[0, 1] > 0


def test_the_fit_is_reproducible_and_does_not_use_the_global_generator(planted_world, untrained):
    state = torch.get_rng_state()
    first, _ = fit(planted_world, untrained)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    second, _ = fit(planted_world, untrained)
    assert torch.equal(first.theta, second.theta)
    assert first.choice == second.choice


def test_users_get_the_plugin_of_their_stratum(planted_world, untrained):
    by_stratum, _ = fit(planted_world, untrained, folds=2)
    theta = torch.arange(15.0).view(5, 3) / 20
    plugins = type(by_stratum)(by_stratum.config, theta, by_stratum.choice, by_stratum.scorers)
    e = evidence(7, planted_world.n_items, 16)
    stratum = np.array([4, 0, 3, 0, 2, 2, 1])
    logits = plugins.logits(e, stratum)
    for u, a in enumerate(stratum):
        torch.testing.assert_close(logits[u], LogitSpace(2).logits(theta[a], e)[u])


def test_stratum_without_validation_users_does_not_stop_the_fit(planted_world, untrained):
    strata = planted_world.strata.model_copy(update={"training": Strata(thresholds=(1, 12))})
    by_stratum, _ = fit_on(planted_world, untrained, planted_world.sequences, PluginTraining(), strata)
    assert by_stratum.theta.shape == (3, 5)
    assert torch.isfinite(by_stratum.theta).all()
