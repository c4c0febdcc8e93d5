"""The rank of a target in the evaluation is its place in the recommendations of the same model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pinet_kedro.evaluation.ranks import rank_models
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import Recommender
from pinet_kedro.serving.batch_inference import SCHEMA, Recommendations
from pinet_kedro.serving.config import BatchInference

EVERYTHING = 1000


@pytest.fixture(scope="module", params=[True, False], ids=["seen items excluded", "seen items offered"])
def evaluated(request, planted_world, joint_backbone, tmp_path_factory):
    """The PIN of a log with repeats under one policy, stored and read again, with the split that it was fitted on."""
    w = planted_world
    split = split_sequences(w.sequences, Splitting(), ExcludeSeen(request.param))
    dataset = replace(w.dataset, split=split)
    config = PluginTraining(folds=2, ridge=1.0)
    scorers = build_scorers(dataset, w.popularity, config)
    plugins, _ = fit_plugins(joint_backbone, dataset, scorers, config)
    assert "own" in plugins.choice  # or routing would not matter
    folder = tmp_path_factory.mktemp("model")
    item_ids = w.item_ids
    Recommender(joint_backbone, w.strata, w.popularity, item_ids, plugins, exclude_seen=request.param).save(folder)
    model = Recommender.load(folder)
    return w, split, model, rank_models({"pin": model}, dataset)


def place(answer, target):
    """Rank of the target in an answer that holds all that is on offer."""
    items, scores = np.asarray(answer[0]), np.asarray(answer[1])
    [own] = scores[items == target]
    return 1 + (scores > own).sum() + 0.5 * ((scores == own).sum() - 1)


def histories_of(w, split, users):
    """Raw ids of the events before each user's test target, and that of the target."""
    runs = [w.item_ids[w.sequences.items[w.sequences.offsets[u] :][: split.test_at[u] + 1] - 1] for u in users]
    return [run[:-1].tolist() for run in runs], [run[-1] for run in runs]


def test_every_target_is_recommended_at_its_rank(evaluated):
    w, split, model, ranks = evaluated
    histories, targets = histories_of(w, split, ranks["user"])
    answers = model.recommend(histories, k=EVERYTHING)
    np.testing.assert_array_equal([place(*pair) for pair in zip(answers, targets, strict=True)], ranks["rank"])
    assert [len(answer.items) for answer in answers] == ranks["candidates"].tolist()


def test_batch_inference_gives_every_target_at_its_rank(evaluated):
    w, split, model, ranks = evaluated
    users = ranks["user"].to_numpy()
    begin, known = w.sequences.offsets[users], split.test_at[users]
    events = np.concatenate([np.arange(first, first + count) for first, count in zip(begin, known, strict=True)])
    before = Sequences(w.sequences.items[events], w.sequences.timestamps[events], np.cumsum([0, *known]))
    asking = replace(w.dataset, sequences=before)
    stream = Recommendations(model, "1", asking, pd.Series(users.astype(str)), BatchInference(k=EVERYTHING))
    table = pa.Table.from_batches(stream, SCHEMA).to_pandas()
    _, targets = histories_of(w, split, users)
    places = [place(row, target) for row, target in zip(table[["items", "scores"]].to_numpy(), targets, strict=True)]
    np.testing.assert_array_equal(places, ranks["rank"])


def test_users_are_routed_by_the_events_known_at_the_request(evaluated):
    """By the number of their training events some users would get the plugin of another stratum."""
    w, split, model, ranks = evaluated
    users = ranks["user"].to_numpy()
    trained, known = (model.strata.training.assign(events[users]) for events in (split.train_end, split.test_at))
    assert (trained != known).mean() > 0.1
    moved = int(np.flatnonzero(trained != known)[0])
    theta = model.plugins.theta[[known[moved]] * len(model.strata.training)]
    one_for_all = replace(model, plugins=replace(model.plugins, theta=theta))
    histories, _ = histories_of(w, split, users[[moved]])
    assert model.recommend(histories)[0][:2] == one_for_all.recommend(histories)[0][:2]


def test_an_answer_does_not_depend_on_what_others_in_the_call_want(evaluated):
    """Users without a known item get popular items, of which many are equally popular."""
    _, _, model, _ = evaluated
    few = replace(model.popularity, counts=model.popularity.counts // 8, recent=model.popularity.recent // 8)
    model = replace(model, popularity=few)
    longest = model.recommend([[]], k=EVERYTHING)[0]
    assert len(set(longest.scores[:20])) < 20
    for k in range(1, 15):
        assert model.recommend([[], []], k=[k, EVERYTHING])[0].items == longest.items[:k]
        assert model.recommend([[]], k=k)[0].items == longest.items[:k]
