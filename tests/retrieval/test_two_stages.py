"""Two stages recommend what the scores of the whole catalogue recommend, or say how much of it."""

import logging
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from pinet_kedro.activeness import Stratification
from pinet_kedro.asking import Constraints
from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.backbones.config import DINConfig, SASRecConfig
from pinet_kedro.categories import ItemCategories
from pinet_kedro.dataset import build_dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.ranks import seen_items
from pinet_kedro.fitting.refresh import refreshed
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.fitting.two_stage import in_two_stages
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.plugins import Plugins
from pinet_kedro.randomness import Generators
from pinet_kedro.recommender import Recommender, new_recommender
from pinet_kedro.retrieval.candidates import Candidates
from pinet_kedro.retrieval.config import TwoStage
from pinet_kedro.retrieval.index import ItemIndex

ALWAYS = TwoStage(from_items=1, number=50)


@pytest.fixture(scope="module")
def base(planted_world, joint_backbone):
    return new_recommender(joint_backbone, planted_world.dataset)


@pytest.fixture(scope="module")
def pin(planted_world, base):
    """With plugins, in which every term has a weight, and categories."""
    plugins = planted_world.fit_plugins(base.backbone, PluginTraining(folds=2, memory_search=None))
    items = pd.DataFrame({"item_id": base.item_ids, "categories": [[f"c{n % 7}"] for n in range(base.n_items)]})
    return replace(base, plugins=plugins, categories=ItemCategories.of(base.item_ids, items))


@pytest.fixture(params=["base", "pin"])
def model(request):
    return request.getfixturevalue(request.param)


def asked(world, users=64):
    lengths = world.sequences.lengths[:users]
    rows = np.arange(users)
    return torch.from_numpy(world.sequences.windows(rows, lengths, 20)), lengths, rows


def test_all_cells_give_the_best_of_all(planted_world, model):
    histories, lengths, rows = asked(planted_world)
    hidden = seen_items(planted_world.sequences, rows, lengths // 2)
    exact = model.best(histories, lengths, 10, hidden)
    there = replace(model, candidates=Candidates.of(model.scored, 60))
    found = there.best(histories, lengths, 10, hidden)
    assert torch.equal(found[1], exact[1])
    torch.testing.assert_close(found[0], exact[0], rtol=1e-4, atol=1e-4)


def test_the_scores_of_candidates_are_those_of_every_scorer(planted_world, pin):
    histories, _, rows = asked(planted_world)
    columns = torch.from_numpy(np.random.default_rng(0).integers(0, pin.n_items, (len(rows), 9)))
    scorers = pin.plugins.scorers
    alone = scorers.terms_at(histories.numpy(), columns, scorers.memory.recall(histories.numpy()))
    for one, every in zip(alone, scorers.terms(histories.numpy()), strict=True):
        torch.testing.assert_close(one, every[columns] if every.dim() == 1 else every.gather(1, columns))


def test_requests_that_candidates_cannot_answer_are_answered_from_the_whole_catalogue(planted_world, pin):
    """One with no history, an allow-list, a least number of categories, nearly everything hidden; long lists."""
    there = in_two_stages(pin, planted_world.dataset, replace_recall(0.5))
    assert there.candidates.most == 10
    ids, histories = pin.item_ids.tolist(), [[], *(pin.item_ids[row : row + 4].tolist() for row in range(5))]
    constraints = [
        Constraints(), Constraints(only=ids[:30]), Constraints(min_categories=5), Constraints(exclude=ids[:55]),
        Constraints(categories=["c1"]), Constraints(not_categories=["c2"]),
    ]  # fmt: skip
    for k in (3, 10, 11, 60):
        expected = pin.recommend(histories, k, constraints=constraints)
        for mine, theirs in zip(there.recommend(histories, k, constraints=constraints)[:5], expected, strict=False):
            assert mine.items == theirs.items
            assert mine.scores == pytest.approx(theirs.scores, rel=1e-4, abs=1e-4)
            assert mine._replace(scores=theirs.scores) == theirs
    few = there.recommend(histories[3:4], 10, constraints=constraints[3:4])[0]
    assert set(few.items) <= set(ids[55:])
    assert not set(there.recommend(histories, 10, constraints=constraints)[5].items) & set(ids[2::7])


def replace_recall(recall):
    return ALWAYS.model_copy(update={"recall": recall})


@pytest.fixture(scope="module")
def many():
    """A log of many items, and a model of it that only asks for categories, which are no source of candidates."""
    log = SyntheticLog(users=400, items=2000, min_events=20, max_events=60, planted=0.5, followers=2)
    dataset, _ = build_dataset(
        clean_events(generate_interactions(log), Cleaning())[0], Splitting(), ExcludeSeen(True), Stratification()
    )
    rng = np.random.default_rng(0)
    names = pd.Series([rng.choice(40, 3, replace=False).astype(str).tolist() for _ in range(dataset.n_items)])
    dataset = replace(dataset, items=dataset.items.assign(categories=names))
    alone = new_recommender(build_backbone(SASRecConfig(width=8, blocks=1), dataset.n_items, Generators(1)), dataset)
    config = PluginTraining(memory_search=None, scorers={"categories": {}})
    scorers = build_scorers(dataset, alone.popularity, config)
    theta = torch.zeros(len(dataset.strata.training), 1 + len(scorers.names))
    theta[:, 1 + scorers.names.index("categories")] = 1.0
    return replace(alone, plugins=Plugins(config, theta, ("own",) * len(theta), scorers)), dataset


def test_the_fewest_cells_with_the_configured_recall_are_found_and_the_recall_is_stored(many, tmp_path):
    model, dataset = many
    alone = replace(model, plugins=None)
    low, high = (in_two_stages(alone, dataset, replace_recall(r)) for r in (0.3, 0.95))
    assert low.candidates.probes < high.candidates.probes
    assert 0.3 <= low.candidates.recall["10"] < high.candidates.recall["10"]
    high.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert (again.candidates.recall, again.candidates.probes) == (high.candidates.recall, high.candidates.probes)
    histories, lengths = torch.from_numpy(dataset.sequences.windows(np.arange(9), np.full(9, 20), 20)), np.full(9, 20)
    nothing = torch.empty(0, dtype=torch.int64)
    for mine, stored in zip(
        *(one.best(histories, lengths, 5, (nothing, nothing)) for one in (high, again)), strict=True
    ):
        assert torch.equal(mine, stored)


def test_a_recall_that_is_not_reached_leaves_the_whole_catalogue_and_says_so(many, caplog):
    model, dataset = many
    with caplog.at_level(logging.WARNING):
        assert in_two_stages(model, dataset, ALWAYS) is model
    assert "fewer than two_stage.recall 0.98" in caplog.text
    assert in_two_stages(model, dataset, replace_recall(0.001)).candidates.recall["10"] < 0.9


def test_a_recall_that_cannot_be_measured_leaves_the_whole_catalogue(many, monkeypatch):
    """Where no user has an item left that may be recommended, it is NaN, which is below nothing."""
    monkeypatch.setattr("pinet_kedro.fitting.two_stage._Exact.recall", lambda *args: {"10": float("nan")})
    model, dataset = many
    assert in_two_stages(model, dataset, ALWAYS) is model


def test_scores_that_are_no_inner_products_and_plugins_of_another_kind_are_not_searched(many, caplog):
    model, dataset = many
    din = new_recommender(build_backbone(DINConfig(width=8), dataset.n_items), dataset)
    changed = replace(model, plugins=replace(model.plugins, config=PluginTraining(kind="state_space")))
    for one, why in ((din, "the scores of din"), (changed, "of the kind state_space")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert in_two_stages(one, dataset, ALWAYS) is one
        assert why in caplog.text


def test_a_list_longer_than_the_catalogue_has_all_of_it(planted_world, pin):
    there = in_two_stages(pin, planted_world.dataset, TwoStage(from_items=1))
    assert there.candidates.most > pin.n_items
    history = [pin.item_ids[:4].tolist()]
    assert there.recommend(history, 100)[0].items == pin.recommend(history, 100)[0].items


def test_a_small_catalogue_and_the_default_have_one_stage(many):
    model, dataset = many
    for config in (TwoStage(), TwoStage(from_items=dataset.n_items + 1)):
        assert in_two_stages(model, dataset, config) is model


def test_an_index_of_few_items_finds_the_best():
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    index = ItemIndex.of(vectors)
    expected = np.argsort(-(vectors @ vectors.T), axis=1)[:, :2]
    assert (index.search(vectors, 2, index.cells) == expected).all()


def test_two_users_suffice_to_choose_and_to_measure_and_one_is_refused(many):
    model, dataset = many
    config = ALWAYS.model_copy(update={"users": 2, "recall": 0.001})
    assert in_two_stages(replace(model, plugins=None), dataset, config).candidates is not None
    with pytest.raises(ValidationError, match="users"):
        TwoStage(from_items=1, users=1)


def test_a_refreshed_model_has_no_candidates_of_the_one_before(planted_world, pin):
    there = in_two_stages(pin, planted_world.dataset, replace_recall(0.5))
    assert there.candidates is not None
    assert refreshed(there, planted_world.sequences, planted_world.sequences).candidates is None


def test_without_faiss_the_setting_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("pinet_kedro.retrieval.config.find_spec", lambda _: None)
    with pytest.raises(ValidationError, match=r"pip install 'pinet-kedro\[retrieval\]'"):
        TwoStage(from_items=100_000)
    assert TwoStage().from_items is None


def test_without_faiss_a_version_that_needs_it_says_so(planted_world, base, tmp_path, monkeypatch):
    in_two_stages(base, planted_world.dataset, replace_recall(0.5)).save(tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'pinet-kedro\[retrieval\]'"):
        Recommender.load(tmp_path)
