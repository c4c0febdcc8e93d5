"""Contributions are the score: they sum to it, for every kind of model, and are those of the named scorers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinet_kedro.asking import Constraints
from pinet_kedro.explanation import explain
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import new_recommender
from pinet_kedro.similarity import nearest_by_memory, nearest_by_vectors

QUICK = {"folds": 2, "memory_search": None, "hard_candidates": 20, "random_candidates": 20}
KINDS = {
    "plugins": PluginTraining(**QUICK),
    "no backbone": PluginTraining(**QUICK, backbone=False),
    "no factors": PluginTraining(**QUICK, factors=None),
    "state space": PluginTraining(**QUICK, kind="state_space"),
}
FLOAT32 = float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def models(planted_world, joint_backbone):
    bare = new_recommender(joint_backbone, planted_world.dataset)
    fitted = {
        kind: replace(bare, plugins=planted_world.fit_plugins(bare.backbone, config)) for kind, config in KINDS.items()
    }
    # Weights of every sign and size: an own plugin for each stratum.
    rng = torch.Generator().manual_seed(3)
    plugins = fitted["plugins"].plugins
    own = replace(plugins, theta=torch.randn(plugins.theta.shape, generator=rng) * 5)
    return {"bare": bare, **fitted, "any weights": replace(bare, plugins=own)}


@pytest.mark.parametrize("kind", ["bare", *KINDS, "any weights"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.integers(0, 59), max_size=40), k=st.integers(1, 70), seen=st.booleans())
def test_contributions_sum_to_the_score_that_is_recommended(models, kind, history, k, seen):
    model = models[kind]
    history = [str(model.item_ids[i % model.n_items]) for i in history]
    explanation = explain(model, history, k, exclude_seen=seen)
    items, scores, stratum, *_ = model.recommend([history], k, exclude_seen=seen)[0]
    assert [found.item for found in explanation.items] == items
    assert [found.score for found in explanation.items] == scores
    assert explanation.stratum == stratum
    for found in explanation.items:
        parts = found.contributions
        assert abs(sum(parts.values()) - found.score) <= 8 * FLOAT32 * sum(map(abs, parts.values()))
        above = explanation.above_average(found)
        total = sum(explanation.average.values())
        assert sum(above.values()) == pytest.approx(found.score - total, abs=1e-3)
        assert list(above.values()) == sorted(above.values(), reverse=True)


def test_an_allow_list_limits_what_is_explained(models):
    model = models["plugins"]
    ids = model.item_ids.tolist()
    found = explain(model, [*ids[:6], "?"], 5, constraints=Constraints(only=ids[20:23]))
    assert [item.item for item in found.items] == model.recommend(
        [ids[:6]], 5, constraints=[Constraints(only=ids[20:23])]
    )[0].items
    assert (found.unknown_items, found.fallback, len(found.items)) == (1, False, 3)
    assert explain(model, ["?"], 1).fallback


def test_contributions_have_the_names_of_what_is_summed(models):
    history = models["bare"].item_ids[:6].tolist()
    names = {kind: list(explain(model, history, 1).average) for kind, model in models.items()}
    assert names == {
        "bare": ["backbone"],
        "plugins": ["backbone", "memory", "factors", "popularity", "recency"],
        "any weights": ["backbone", "memory", "factors", "popularity", "recency"],
        "no backbone": ["memory", "factors", "popularity", "recency"],
        "no factors": ["backbone", "memory", "popularity", "recency"],
        "state space": ["backbone", "change of state"],
    }


def test_each_contribution_is_that_of_its_scorer(models):
    model = models["any weights"]
    history = model.item_ids[[3, 8, 1, 30]].tolist()
    asked = model.encode([history], [5])
    padded, lengths = asked.padded, asked.lengths
    theta = model.plugins.theta[model.strata.training.assign(lengths)[0]]
    popularity = model.popularity
    for found in explain(model, history, 5).items:
        j = int(np.flatnonzero(model.item_ids == found.item)[0])
        memory = float(model.plugins.scorers.memory.recall(padded.numpy()).toarray()[0, j])
        expected = {
            "backbone": theta[0] * model.evidence(padded).scores[0, j],
            "memory": theta[1] * np.log1p(20 * memory),
            "factors": theta[2] * model.plugins.scorers.others["factors"].term(padded.numpy())[0, j],
            "popularity": theta[3] * np.log(popularity.counts[j] + 1),
            "recency": theta[4] * np.log((popularity.recent[j] + 1) / (popularity.counts[j] + 2)),
        }
        for name, value in expected.items():
            assert found.contributions[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


def test_the_memory_names_the_item_of_the_history_that_adds_most(models):
    model = models["plugins"]
    memory = model.plugins.scorers.memory
    history = model.item_ids[[3, 8, 1, 3, 30, 8]].tolist()
    for found in explain(model, history, 20).items:
        j = int(np.flatnonzero(model.item_ids == found.item)[0])
        parts = {}
        for age, item in enumerate(reversed(history)):
            i = int(np.flatnonzero(model.item_ids == item)[0])
            parts[item] = parts.get(item, 0) + memory.config.decay**age * float(memory.matrix[[i]].toarray()[0, j])
        total = sum(parts.values())
        if total == 0 or found.contributions["memory"] == 0:
            assert found.because is None
        else:
            item, share = found.because
            assert share == pytest.approx(parts[item] / total, rel=1e-5)
            assert share == pytest.approx(max(parts.values()) / total, rel=1e-5)


def test_what_cannot_be_attributed_is_said(models):
    history = models["bare"].item_ids[:4].tolist()
    state = explain(models["state space"], history, 3)
    assert "cannot be divided" in state.note
    assert all(found.because is None for found in state.items)
    assert explain(models["plugins"], history, 3).note is None
    empty = explain(models["plugins"], ["nothing that it knows"], 3)
    assert "popular and recent items" in empty.note
    assert list(empty.average) == ["popularity", "recency"]


def test_nothing_is_left_where_everything_is_excluded(models):
    everything = models["plugins"].item_ids.tolist()
    assert explain(models["plugins"], everything, 3, exclude_seen=True).items == ()


def test_nearest_items_are_those_of_a_loop(models):
    model = models["plugins"]
    item = str(model.item_ids[7])
    vectors = model.backbone.item_vectors().detach().double()
    cosine = {
        str(other): float(torch.cosine_similarity(vectors[7], vectors[j], dim=0))
        for j, other in enumerate(model.item_ids)
        if j != 7
    }
    expected = sorted(cosine, key=lambda other: -cosine[other])[:5]
    assert [found for found, _ in nearest_by_vectors(model, item, 5)] == expected
    row = model.plugins.scorers.memory.matrix.toarray()[7]
    by_memory = nearest_by_memory(model, item, 5)
    assert item not in dict(by_memory)
    assert [value for _, value in by_memory] == sorted(np.delete(row, 7), reverse=True)[:5]
    assert nearest_by_memory(models["bare"], item, 5) is None
