"""Lazy updates of item tables: compared with dense ones, with their definition, and rows that they must not change."""

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pinet_kedro.aggregation.config import DeconfoundedConfig, ReptileConfig, TorchJDConfig
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.losses.config import BCEConfig, GBCEConfig, SampledSoftmaxConfig
from pinet_kedro.parameters import plain
from pinet_kedro.training.backbone import _Training, train_backbone
from pinet_kedro.training.config import BackboneTraining, TrainingSchedule
from pinet_kedro.training.updates import DenseUpdates, LazyUpdates

ITEMS = 30
SMALL = {"width": 8, "max_length": 6, "dropout": 0.0}
BACKBONES = {
    "sasrec": SASRecConfig(**SMALL, blocks=1),
    "gru4rec": GRU4RecConfig(**SMALL),
    "din": DINConfig(**SMALL),
    "lrurec": LRURecConfig(**SMALL),
}
LOSSES = {"sampled": SampledSoftmaxConfig(uniform_items=8), "bce": BCEConfig(), "gbce": GBCEConfig(negatives=3)}
on_all_backbones = pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES.keys())


def pair(backbone, kind, **schedule):
    torch.manual_seed(0)
    model = build_backbone(backbone, ITEMS)
    return kind(model, copy.deepcopy(model), TrainingSchedule(learning_rate=1e-2, **schedule))


def set_gradients(updates, rows, seed):
    """The same random gradients for all kinds of updates: of all rows where there are none, sparse where lazy."""
    body, tables = updates.model.body_and_items()
    generator = torch.Generator().manual_seed(seed)
    for p in body:
        p.grad = torch.randn(p.shape, generator=generator)
    for p in tables:
        values = torch.randn(len(rows), p.shape[1], generator=generator)
        p.grad = torch.sparse_coo_tensor(rows[None], values, p.shape, is_coalesced=True, check_invariants=True)
        if isinstance(updates, DenseUpdates):
            p.grad = p.grad.to_dense()


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("weight_average", [0.0, 0.5, 0.98])
@on_all_backbones
def test_lazy_equals_dense_if_every_step_has_all_items(backbone, weight_average):
    dense, lazy = (pair(backbone, kind, weight_average=weight_average) for kind in (DenseUpdates, LazyUpdates))
    for step in range(50):
        for updates in (dense, lazy):
            set_gradients(updates, torch.arange(ITEMS + 1), step)
            updates.step(torch.arange(ITEMS + 1))
    lazy.settle()
    torch.testing.assert_close(flat(lazy.model), flat(dense.model), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat(lazy.average), flat(dense.average), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight_average", [0.0, 0.5, 0.98])
@on_all_backbones
def test_the_settled_average_covers_all_steps(backbone, weight_average):
    """Settled in the middle as well, as a validation does."""
    lazy = pair(backbone, LazyUpdates, weight_average=weight_average)
    expected = [p.detach().double().clone() for p in lazy.model.parameters()]
    generator = torch.Generator().manual_seed(1)
    for step in range(120):
        rows = torch.randperm(ITEMS + 1, generator=generator)[:4].sort().values
        set_gradients(lazy, rows, step)
        lazy.step(rows)
        decay = min(weight_average, (1 + step) / (10 + step))
        for mean, p in zip(expected, lazy.model.parameters(), strict=True):
            mean.lerp_(p.detach().double(), 1 - decay)
        if step in (50, 119):
            lazy.settle()
            wanted = torch.cat([mean.flatten() for mean in expected]).float()
            torch.testing.assert_close(flat(lazy.average), wanted, rtol=1e-4, atol=1e-6)
    once = flat(lazy.average)
    lazy.settle()
    torch.testing.assert_close(flat(lazy.average), once, rtol=0, atol=0)


def config_of(backbone, loss, item_updates="lazy", batch_users=4, aggregation=None):
    schedule = TrainingSchedule(epochs=2, batch_users=batch_users, item_updates=item_updates)
    return BackboneTraining(backbone=backbone, loss=loss, schedule=schedule, aggregation=aggregation)


def training_of(w, config):
    torch.manual_seed(0)
    return _Training(w.dataset, config, torch.device("cpu"))


@pytest.mark.parametrize("aggregation", [None, DeconfoundedConfig(), TorchJDConfig(name="PCGrad"), ReptileConfig()],
                         ids=["joint", "deconfounded", "torchjd", "reptile"])  # fmt: skip
@pytest.mark.parametrize("loss", ["sampled", "bce"])
@on_all_backbones
def test_a_step_does_not_change_other_rows(planted_world, backbone, loss, aggregation):
    """Weights and both moments, to the bit."""
    training = training_of(planted_world, config_of(backbone, LOSSES[loss], aggregation=aggregation))
    of_tables = training.updates._optimisers[1]
    search, found = training.sparse_rows.rows, []
    training.sparse_rows.rows = lambda *arguments: found.append(search(*arguments)) or found[-1]

    def state():
        moments = [of_tables.state[p][name] for p in training.tables for name in ("exp_avg", "exp_avg_sq")]
        return [t.detach().clone() for t in (*training.tables, *moments)]

    training._step(1, 0)
    for step in range(1, 6):
        before = state()
        training._step(1, step)
        untouched = torch.ones(planted_world.n_items + 1, dtype=torch.bool)
        untouched[found[-1]] = False
        assert untouched.any()
        for then, now in zip(before, state(), strict=True):
            assert torch.equal(then[untouched], now[untouched])
            assert not torch.equal(then[~untouched], now[~untouched])


def test_the_first_lazy_step_equals_the_dense_one(planted_world):
    """Before there is any momentum, the two differ in nothing."""
    weights = []
    for item_updates in ("dense", "lazy"):
        training = training_of(planted_world, config_of(BACKBONES["sasrec"], LOSSES["sampled"], item_updates))
        training._step(1, 0)
        weights.append(flat(training.model))
    # A step is 2e-3; the two add Adam's ε at different places, which shows where a gradient is next to nothing.
    torch.testing.assert_close(*weights, rtol=1e-4, atol=2e-5)


@pytest.mark.slow  # trains twice with each loss
@pytest.mark.parametrize(
    ("loss", "aggregation"), [*((loss, None) for loss in LOSSES.values()), (LOSSES["sampled"], DeconfoundedConfig())],
    ids=[*LOSSES, "sampled, deconfounded"],
)  # fmt: skip
def test_lazy_learns_about_as_much_as_dense(planted_world, small_training, loss, aggregation):
    w, ndcg = planted_world, {}
    for item_updates in ("dense", "lazy"):
        schedule = small_training.schedule.model_copy(update={"item_updates": item_updates})
        config = small_training.model_copy(update={"schedule": schedule, "loss": loss, "aggregation": aggregation})
        model = train_backbone(w.dataset, config)
        ranks = target_ranks(BackboneScorer(model), w.sequences, w.users, w.split.test_at, w.split.exclude_seen)
        ndcg[item_updates] = user_metrics(ranks)["ndcg_at_10"].mean()
    assert ndcg["lazy"] > 0.93 * ndcg["dense"]


def test_keeping_the_best_epoch_keeps_a_settled_average(planted_world):
    config = config_of(BACKBONES["sasrec"], LOSSES["sampled"])
    best = train_backbone(planted_world.dataset, config, keep_best=True)
    assert np.isfinite(flat(best).numpy()).all()


def test_auto_is_lazy_in_large_catalogues_where_items_are_drawn():
    drawn, full = BackboneTraining(loss=SampledSoftmaxConfig()), BackboneTraining()
    assert [drawn.lazy(n) for n in (25_000, 99_999, 100_000)] == [False, False, True]
    assert not full.lazy(1_000_000)
    assert config_of(BACKBONES["din"], LOSSES["bce"], "lazy").lazy(10)
    assert not config_of(BACKBONES["din"], LOSSES["bce"], "dense").lazy(1_000_000)


def test_lazy_with_full_softmax_is_refused():
    with pytest.raises(ValidationError, match="item_updates: lazy needs a loss that draws items"):
        BackboneTraining(schedule=TrainingSchedule(item_updates="lazy"))


def test_models_stored_before_the_parameter_existed_keep_their_names():
    """Names of trained models are digests of the configuration."""
    assert "item_updates" not in plain(BackboneTraining())["schedule"]
    stored = plain(config_of(BACKBONES["sasrec"], LOSSES["bce"], "lazy"))
    assert stored["schedule"]["item_updates"] == "lazy"
    assert BackboneTraining.model_validate(stored).schedule.item_updates == "lazy"
