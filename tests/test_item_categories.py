"""Filters by category are those by item, and a spread list is that of a loop over the documented rule."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinet_kedro.asking import Constraints
from pinet_kedro.categories import ItemCategories
from pinet_kedro.errors import InputError
from pinet_kedro.explanation import explain
from pinet_kedro.recommender import Recommender, new_recommender

NAMES = ("Art", "Comedy", "Drama", "Film-Noir", "War")


def table_of(lists):
    ids = pd.array([f"i{n}" for n in range(len(lists))], "string")
    return pd.DataFrame({"item_id": ids, "categories": pd.Series(lists, dtype=object)})


def categories(lists):
    return ItemCategories.of(np.array([f"i{n}" for n in range(len(lists))], object), table_of(lists))


def spread_by_loop(lists, scores, k, least):
    """`ItemCategories.spread` of the best k, as its docstring says it."""
    order = sorted(range(len(scores)), key=lambda j: (-scores[j], j))
    order = [j for j in order if np.isfinite(scores[j])]
    chosen = order[:k]
    while True:
        held = [name for j in chosen for name in set(lists[j])]
        if len(set(held)) >= least:
            return chosen
        losses = [sum(held.count(name) == 1 for name in set(lists[j])) for j in chosen]
        gains = {j: len(set(lists[j]) - set(held)) for j in order if j not in chosen}
        entering = [j for j, gain in gains.items() if chosen and gain > min(losses)]
        if not entering:
            return chosen
        leaving = max(place for place, loss in enumerate(losses) if loss == min(losses))
        chosen = sorted([*chosen[:leaving], *chosen[leaving + 1 :], entering[0]], key=lambda j: (-scores[j], j))


@given(
    st.lists(st.lists(st.sampled_from(NAMES), max_size=3), min_size=1, max_size=25),
    st.data(),
    st.integers(1, 8),
    st.integers(1, 6),
)
def test_a_spread_list_is_that_of_a_loop(lists, data, k, least):
    lists[0] = [*lists[0], NAMES[0]]  # without any category there is nothing to spread over
    score = st.sampled_from([-np.inf, *range(12)])
    scores = np.array(data.draw(st.lists(score, min_size=len(lists), max_size=len(lists))), np.float32)
    best = np.lexsort((np.arange(len(lists)), -scores))[:k]
    of_items = categories(lists)
    found = of_items.spread(scores, best, least)
    assert found.tolist() == spread_by_loop(lists, scores, k, least)
    kept = best[np.isfinite(scores[best])]
    assert len(found) == len(kept)
    assert of_items.distinct(found) == len({name for j in found for name in lists[j]}) >= of_items.distinct(kept)


def test_with_one_category_for_each_item_a_list_has_as_many_as_there_are():
    lists = [[NAMES[0]]] * 10 + [[name] for name in NAMES]
    scores = np.arange(len(lists), 0, -1.0)
    found = categories(lists).spread(scores, np.arange(5), 4)
    assert found.tolist() == [0, 1, 11, 12, 13]  # 10 brings nothing new
    assert categories(lists).spread(scores, np.arange(3), 99).tolist() == [0, 11, 12]
    assert categories(lists).spread(scores, np.arange(5), 1).tolist() == [0, 1, 2, 3, 4]


def test_categories_are_those_of_the_models_items_in_its_order():
    items = table_of([["War", "Art", "War"], [], ["Art"]])
    found = ItemCategories.of(np.array(["i2", "new", "i0"], object), items)
    assert found.names == ("Art", "War")
    assert found.matrix.toarray().tolist() == [[1, 0], [0, 0], [1, 1]]
    assert ItemCategories.of(np.array(["i1", "new"], object), items) is None
    assert ItemCategories.of(np.array(["i1"], object), items[["item_id"]]) is None
    as_read = items.assign(categories=[np.array(names, object) for names in items["categories"]])  # from Parquet
    assert ItemCategories.of(np.array(["i2", "new", "i0"], object), as_read).sha256 == found.sha256
    assert ItemCategories.of(np.array(["i2", "i0", "new"], object), items).sha256 != found.sha256


@pytest.fixture(scope="module")
def model(planted_world, joint_backbone):
    bare = new_recommender(joint_backbone, planted_world.dataset)
    ids = bare.item_ids
    lists = [[NAMES[j % 4]] + ["War"] * (j % 7 == 0) for j in range(len(ids))]
    items = pd.DataFrame({"item_id": pd.array(ids, "string"), "categories": lists})
    return replace(bare, categories=ItemCategories.of(ids, items)), lists


HISTORIES = (slice(0, 3), slice(0, 0), slice(20, 40))


def test_filters_by_category_are_filters_by_item(model):
    model, lists = model
    ids = model.item_ids
    having = {name: [str(i) for i, names in zip(ids, lists, strict=True) if name in names] for name in NAMES}
    histories = [ids[part].tolist() for part in HISTORIES]

    def answers(**constraints):
        return model.recommend(histories, k=60, constraints=[Constraints(**constraints)] * 3)

    assert answers(categories=["Art", "War"]) == answers(only=having["Art"] + having["War"])
    assert answers(not_categories=["Art", "War"]) == answers(exclude=having["Art"] + having["War"])
    both = answers(categories=["Art"], not_categories=["War"], only=ids[:30].tolist(), exclude=[str(ids[4])])
    left = [item for item in having["Art"] if item not in having["War"] and item in ids[:30] and item != ids[4]]
    assert both == answers(only=left)
    assert [answer.items for answer in answers(categories=[])] == [[], [], []]
    assert {answer.distinct_categories for answer in both} == {None}


def test_a_list_for_each_user_has_the_categories_asked_for_and_scores_as_they_are(model):
    model, _ = model
    histories = [model.item_ids[part].tolist() for part in HISTORIES]
    full = model.recommend(histories, k=60)
    asked = [Constraints(min_categories=4), Constraints(), Constraints(min_categories=9)]
    found = model.recommend(histories, [4, 7, 2], constraints=asked)
    assert [len(answer.items) for answer in found] == [4, 7, 2]
    assert [answer.distinct_categories for answer in found] == [4, None, found[2].distinct_categories]
    assert found[2].distinct_categories < 9  # the answer says that there are not enough
    scores = dict(zip(full[0].items, full[0].scores, strict=True))
    assert found[0].scores == [scores[item] for item in found[0].items] == sorted(found[0].scores, reverse=True)
    assert found[1] == full[1]._replace(items=full[1].items[:7], scores=full[1].scores[:7])
    why = explain(model, histories[0], 4, constraints=asked[0])
    assert ([item.item for item in why.items], why.distinct_categories) == (found[0].items, 4)


def test_categories_travel_with_the_model(model, tmp_path):
    model, _ = model
    bare, with_categories = tmp_path / "bare", tmp_path / "with"
    for folder, saved in ((bare, replace(model, categories=None)), (with_categories, model)):
        folder.mkdir()
        saved.save(folder)
    found = Recommender.load(with_categories).categories
    assert found.sha256 == model.categories.sha256
    assert (found.matrix != model.categories.matrix).nnz == 0
    assert Recommender.load(bare).categories is None
    assert "categories" not in (bare / "recommender.json").read_text()


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ({"categories": ["Art", "Comdy"]}, ["categories:", "'Comdy'", "did you mean 'Comedy'?"]),
        ({"not_categories": ["drama"]}, ["not_categories:", "'drama'", "did you mean 'Drama'"]),
        ({"categories": ["?"]}, ["the 5 that it knows begin with 'Art', 'Comedy', 'Drama'."]),
    ],
)
def test_an_unknown_category_is_refused_with_the_nearest_known_ones(model, constraints, words):
    """A misspelt one would filter everything, or nothing, in silence; an unknown id filters only itself."""
    with pytest.raises(InputError) as error:
        model[0].recommend([[]], constraints=[Constraints(**constraints)])
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("field", ["categories", "not_categories", "min_categories"])
def test_a_model_without_categories_says_how_to_give_it_some(model, field):
    constraints = Constraints(**{field: 2 if field == "min_categories" else ["Art"]})
    with pytest.raises(InputError, match=rf"^{field}: .* item_metadata, .* the new version has them"):
        replace(model[0], categories=None).recommend([[]], constraints=[constraints])
