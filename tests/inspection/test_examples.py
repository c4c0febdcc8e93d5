"""Users of the report are chosen by a rule, and what is shown of them is what the evaluation measured."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.evaluation.ranks import rank_models
from pinet_kedro.explanation import ExplainedItem, Explanation
from pinet_kedro.inspection.examples import pick_users, show_examples
from pinet_kedro.inspection.reasons import in_words
from pinet_kedro.inspection.titles import Titles
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import new_recommender


@pytest.fixture(scope="module")
def world(planted_world):
    """Seen items are no targets, so some users have none."""
    return planted_world.having(split=split_sequences(planted_world.sequences, Splitting(), ExcludeSeen(True)))


@pytest.fixture(scope="module")
def models(world, joint_backbone):
    base = new_recommender(joint_backbone, world.dataset)
    config = PluginTraining(folds=2, memory_search=None)
    return {"base": base, "pin": replace(base, plugins=world.fit_plugins(base.backbone, config))}


@pytest.fixture(scope="module")
def shown(world, models):
    items = world.dataset.items[["item_id"]].assign(title=lambda table: "Title of " + table["item_id"])
    ids = pd.Series([f"user {user}" for user in world.users])
    ranks = rank_models(models, world.dataset)
    return ranks, show_examples(world.dataset, ids, items.iloc[1:], ranks, models["base"], models["pin"])


def test_two_users_of_tail_middle_and_head_are_nearest_to_the_quantiles(world):
    dataset = world.dataset
    picked = pick_users(dataset)
    assert [group for group, _ in picked] == ["q1", "q1", "q3", "q3", "head", "head"]
    assert len({user for _, user in picked}) == 6
    masks = dataset.strata.groups(dataset.activeness)
    has_target = np.isin(world.users, dataset.test_users)
    assert not has_target.all()
    for place, (group, user) in enumerate(picked):
        members = np.flatnonzero(masks[group] & has_target)
        assert user in members
        wanted = np.quantile(dataset.activeness[members], (0.1, 0.9)[place % 2])
        distance = {other: abs(dataset.activeness[other] - wanted) for other in members}
        before = [chosen for _, chosen in picked[:place]]
        assert user == min((other for other in members if other not in before), key=lambda u: (distance[u], u))


def test_what_is_shown_agrees_with_the_ranks_of_the_evaluation(world, shown):
    ranks, examples = shown
    for example, (_, user) in zip(examples, pick_users(world.dataset), strict=True):
        assert example["user"] == f"user {user}"
        for model in ("base", "pin"):
            rank = ranks.query("model == @model and user == @user")["rank"].item()
            assert example["ranks"][model] == rank
            offered = [row[model]["item"] for row in example["rows"]]
            assert (example["target"]["item"] in offered) == (rank <= 5)
            assert [row[model]["taken"] for row in example["rows"]] == [
                item == example["target"]["item"] for item in offered
            ]
    assert any(row["pin"]["taken"] for example in examples for row in example["rows"])


def test_the_history_ends_before_what_was_taken_next(world, shown):
    for example, (_, user) in zip(shown[1], pick_users(world.dataset), strict=True):
        at, start = int(world.split.test_at[user]), world.sequences.offsets[user]
        events = world.item_ids[world.sequences.items[start : start + at + 1] - 1].tolist()
        assert example["target"]["item"] == events[-1]
        assert [entry["item"] for entry in example["history"]] == events[-2 : -2 - len(example["history"]) : -1]
        assert len(example["history"]) == min(8, at)


def test_reasons_are_the_largest_parts_above_the_average_item():
    explained = ExplainedItem("7", 6.0, {"backbone": 1.0, "memory": 3.0, "factors": 1.5, "recency": 0.5}, ("3", 0.6))
    average = {"backbone": 0.5, "memory": 0.2, "factors": 1.4, "recency": 1.0}
    titles = Titles(pd.DataFrame({"item_id": ["3"], "title": ["Toy Story"]}))
    words = in_words(Explanation((explained,), average, "tail"), explained, titles)
    assert words == "often near Toy Story (3) +2.8, the backbone expects it next +0.5"
    one = replace(explained, contributions=explained.contributions | {"backbone": 0.54})
    assert in_words(Explanation((one,), average | {"factors": 1.5}, "tail"), one, titles).count(",") == 0  # no '+0.0'
    low = ExplainedItem("7", 0.0, {"backbone": 0.0})
    assert "no contribution" in in_words(Explanation((low,), {"backbone": 1.0}, "tail"), low, titles)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("star wars", "did you mean Star Wars (50)? "), ("501", "did you mean Star Wars (50)? "), ("zzz", "")],
)
def test_the_nearest_item_is_found_by_title_and_by_id(text, hint):
    titles = Titles(pd.DataFrame({"item_id": ["50", "1"], "title": ["Star Wars", None]}))
    assert titles.nearest(text, ["50", "1"]) == hint
