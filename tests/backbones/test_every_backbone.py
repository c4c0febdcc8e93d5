"""Properties of all backbones: causality, learning planted transitions, plugins, storage."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import BackboneConfig, DINConfig, GRU4RecConfig, LRURecConfig, SASRecConfig
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import rank_models, target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.losses.config import BCEConfig, FullSoftmaxConfig, SampledSoftmaxConfig
from pinet_kedro.losses.softmax import Candidates, FullSoftmax
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import Recommender
from pinet_kedro.training.backbone import train_backbone

SMALL = {"width": 16, "max_length": 10, "dropout": 0.1}
CONFIGS = {
    "sasrec": SASRecConfig(**SMALL, blocks=1),
    "gru4rec": GRU4RecConfig(**SMALL, hidden=24),
    "din": DINConfig(**SMALL),
    "lrurec": LRURecConfig(**SMALL, hidden=24),
}


TINY = {
    "sasrec": SASRecConfig(width=8, blocks=2, heads=2, max_length=8),
    "sasrec of original blocks": SASRecConfig(width=8, blocks=2, heads=2, max_length=8, block="original"),
    "sasrec of unit vectors": SASRecConfig(width=8, blocks=1, heads=2, max_length=8, item_norm="unit"),
    "gru4rec": GRU4RecConfig(width=8, hidden=6, max_length=8),
    "gru4rec of two layers": GRU4RecConfig(width=8, hidden=6, layers=2, max_length=8),
    "din": DINConfig(width=8, heads=2, max_length=8),
    "lrurec": LRURecConfig(width=8, hidden=6, max_length=8),
    "lrurec of two blocks": LRURecConfig(width=8, hidden=6, blocks=2, max_length=8),
}
FULL = FullSoftmax(FullSoftmaxConfig())
EXACT = {"rtol": 1e-10, "atol": 1e-12}
HISTORIES = torch.tensor([[0, 0, 0, 4, 9, 2], [0, 7, 7, 1, 3, 5], [8, 6, 4, 2, 1, 3]])
REAL = HISTORIES != 0


@pytest.fixture(params=TINY.values(), ids=TINY.keys())
def tiny(request):
    """An untrained model far from its start, where blocks are close to the identity and attention to uniform."""
    torch.manual_seed(0)
    model = build_backbone(request.param, n_items=10).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    model.items.weight.data[0] = 0
    return model


def loss_of(model, histories):
    real = histories[:, :-1] != 0
    return model.loss(histories[:, :-1], histories[:, 1:][real], FULL, Candidates())


def test_a_later_item_does_not_change_earlier_states(tiny):
    states = tiny.states(HISTORIES)
    for position in range(1, 6):
        changed = HISTORIES.clone()
        changed[:, position] = torch.where(REAL[:, position], 10, 0)
        after = tiny.states(changed)
        before, since = REAL[:, :position], REAL[:, position]
        torch.testing.assert_close(after[:, :position][before], states[:, :position][before], **EXACT)
        assert (after[since, position:] - states[since, position:]).abs().amax(-1).min() > 1e-6


@pytest.mark.parametrize("padding", [1, 2])
def test_left_padding_does_not_change_states_scores_and_loss(tiny, padding):
    padded = F.pad(HISTORIES, (padding, 0))
    torch.testing.assert_close(tiny.states(padded)[:, padding:][REAL], tiny.states(HISTORIES)[REAL], **EXACT)
    for found, expected in zip(tiny.read(padded), tiny.read(HISTORIES), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(loss_of(tiny, padded), loss_of(tiny, HISTORIES), **EXACT)


def test_states_do_not_depend_on_the_rest_of_the_batch(tiny):
    together = tiny.states(HISTORIES)
    for row, history in enumerate(HISTORIES):
        alone = tiny.states(history[history != 0][None])
        torch.testing.assert_close(alone[0], together[row][history != 0], **EXACT)


def test_padding_row_stays_zero_and_gets_no_gradient(tiny):
    loss_of(tiny.train(), HISTORIES).backward()
    assert (tiny.items.weight[0] == 0).all()
    assert (tiny.items.weight.grad[0] == 0).all()
    assert (tiny.items.weight.grad[1:].abs().sum(1) > 0).all()


def test_rows_of_padding_alone_are_finite_with_finite_gradients(tiny):
    states = tiny.states(torch.zeros(2, 4, dtype=torch.int64))
    assert torch.isfinite(states).all()
    states.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in tiny.parameters() if p.grad is not None)


def test_item_vectors_of_a_finished_model_are_the_input_vectors_without_padding(tiny):
    finished = copy.deepcopy(tiny).finish()
    torch.testing.assert_close(finished.item_vectors(), finished.items(torch.arange(1, 11)))


def test_a_finished_model_scores_as_before(tiny):
    histories = torch.tensor([[0, 0, 4, 9], [8, 6, 4, 2]])
    before = tiny.eval().read(histories)
    finished = copy.deepcopy(tiny).finish()
    assert finished.finished
    assert not finished.training
    torch.testing.assert_close(finished.read(histories), before)
    torch.testing.assert_close(copy.deepcopy(finished).finish().read(histories), before)


@pytest.mark.parametrize("kind", [SASRecConfig, DINConfig])
def test_width_must_be_a_multiple_of_heads(kind):
    with pytest.raises(ValueError, match="width = 9 and heads = 2"):
        build_backbone(kind(width=9, heads=2), n_items=3)


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS.keys())
def config(request, small_training):
    return small_training.model_copy(update={"backbone": request.param})


def train(world, config):
    return train_backbone(world.dataset, config)


@pytest.fixture(scope="module")
def models():
    """Trained models by backbone: pytest drops `config` and `trained` whenever another backbone comes between."""
    return {}


@pytest.fixture(scope="module")
def trained(planted_world, config, models):
    name = config.backbone.name
    if name not in models:
        models[name] = train(planted_world, config)
    return models[name]


@pytest.fixture(scope="module")
def without_factors(planted_world, trained):
    """Other plugins on the same backbone."""
    return planted_world.fit_plugins(trained, PluginTraining(factors=None, folds=2))


@pytest.fixture(scope="module", params=[None, "logit_space", "state_space"], ids=["alone", "logit", "state"])
def recommender(request, planted_world, trained):
    w, plugins = planted_world, None
    if request.param:
        plugins = w.fit_plugins(trained, PluginTraining(kind=request.param, folds=2))
    return Recommender(trained, w.strata, w.popularity, w.item_ids, plugins)


def ndcg(world, scorer):
    ranks = target_ranks(scorer, world.sequences, world.users, world.split.test_at, world.split.exclude_seen)
    return user_metrics(ranks)["ndcg_at_10"].mean()


def test_planted_transitions_are_learned(planted_world, trained):
    popularity = ndcg(planted_world, PopularityScorer(planted_world.popularity))
    assert ndcg(planted_world, BackboneScorer(trained)) > 1.7 * popularity


@pytest.mark.slow  # trains each backbone with each loss
@pytest.mark.parametrize(
    "loss", [SampledSoftmaxConfig(uniform_items=15), BCEConfig(negatives=4)], ids=["sampled_softmax", "bce"]
)
def test_planted_transitions_are_learned_with_sampled_losses(planted_world, config, loss):
    scorer = BackboneScorer(train(planted_world, config.model_copy(update={"loss": loss})))
    popularity = ndcg(planted_world, PopularityScorer(planted_world.popularity))
    assert ndcg(planted_world, scorer) > 1.7 * popularity


def test_every_backbone_trains_jointly_with_full_softmax(planted_world, config):
    w = planted_world
    short = config.schedule.model_copy(update={"epochs": 1})
    config = config.model_copy(update={"loss": FullSoftmaxConfig(), "schedule": short})
    model = train_backbone(w.dataset, config.joint())
    assert np.isfinite(ndcg(w, BackboneScorer(model)))


@pytest.mark.slow  # fits plugins on each backbone
def test_plugins_keep_the_quality_of_the_backbone(planted_world, recommender):
    assert ndcg(planted_world, recommender) > 0.97 * ndcg(planted_world, BackboneScorer(recommender.backbone))


@torch.no_grad()
def test_a_batch_of_users_is_scored_as_single_users(planted_world, trained):
    histories = torch.from_numpy(planted_world.sequences.windows(np.arange(60), planted_world.split.test_at[:60], 10))
    histories[3] = 0
    states, scores = trained.read(histories)
    torch.testing.assert_close(states, trained.states(histories)[:, -1])
    for history, state, row in zip(histories, states, scores, strict=True):
        alone = trained.read(history[None])
        torch.testing.assert_close((alone[0][0], alone[1][0]), (state, row), rtol=1e-4, atol=1e-5)


@pytest.mark.slow  # fits plugins on each backbone
def test_a_loaded_recommender_scores_as_the_saved_one(planted_world, recommender, tmp_path):
    w = planted_world
    recommender.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert loaded.backbone.config == recommender.backbone.config
    histories = torch.from_numpy(w.sequences.windows(w.users, w.split.test_at, 12))
    assert torch.equal(*(r.scores(histories, w.split.train_end) for r in (recommender, loaded)))


@pytest.mark.slow  # fits plugins on each backbone
def test_models_that_share_memory_and_factors_are_ranked_as_each_alone(
    planted_world, recommender, without_factors, tmp_path
):
    w = planted_world
    recommender.save(tmp_path)
    models = {
        "popularity": PopularityScorer(w.popularity),
        "alone": replace(recommender, plugins=None),
        "stored": Recommender.load(tmp_path),
        "other_scorers": replace(recommender, plugins=without_factors),
        "model": recommender,
    }
    ranked = rank_models(models, w.dataset)
    assert ranked["model"].drop_duplicates().tolist() == list(models)
    for name, model in models.items():
        expected = target_ranks(model, w.sequences, w.users, w.split.test_at, w.split.exclude_seen)
        found = ranked[ranked["model"] == name]
        np.testing.assert_array_equal(found["rank"], expected.rank)
        np.testing.assert_array_equal(found["candidates"], expected.candidates)
    assert recommender.shares_evidence(models["stored"])
    assert recommender.shares_evidence(models["other_scorers"]) is (recommender.plugins is None)


def test_seed_determines_the_weights(planted_world, config):
    config = config.model_copy(update={"schedule": config.schedule.model_copy(update={"epochs": 1})})
    first, second = (torch.cat([p.flatten() for p in train(planted_world, config).parameters()]) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_name_chooses_the_backbone_and_all_other_parameters_have_defaults(name):
    config = TypeAdapter(BackboneConfig).validate_python({"name": name, "width": 8})
    assert type(config) is type(CONFIGS[name])
    assert type(build_backbone(config, 5)).__name__.lower() == name


def test_settings_of_another_backbone_are_refused():
    with pytest.raises(ValidationError, match="'blocks' is no setting here"):
        TypeAdapter(BackboneConfig).validate_python({"name": "din", "blocks": 2})
    with pytest.raises(ValidationError, match="'sasrec', 'gru4rec', 'din', 'lrurec'"):
        TypeAdapter(BackboneConfig).validate_python({"name": "gru"})


def test_all_weights_have_gradients_where_all_histories_have_one_event(tiny):
    """A stratum of such users; its gradients are asked for by weight, and a missing one ends the training."""
    loss = loss_of(tiny.train(), torch.tensor([[4, 9], [3, 3]]))
    for gradient in torch.autograd.grad(loss, list(tiny.parameters())):
        assert torch.isfinite(gradient).all()
