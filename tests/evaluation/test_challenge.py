"""Models with other catalogues are ranked as in serving; a target that a model does not know is a miss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.beyond_accuracy import coverage
from pinet_kedro.evaluation.catalogue_alignment import AlignedModel, PopularityScorer, align
from pinet_kedro.evaluation.challenge import run_challenge
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.interactions.sequences import build_sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.popularity import Popularity
from pinet_kedro.recommender import Recommender
from prepared import as_dataset


@pytest.fixture(scope="module")
def model(planted_world, joint_backbone):
    w = planted_world
    return Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)


def with_catalogue(model, item_ids, seed=0):
    """A model of the same kind, untrained, that knows these items."""
    counts = np.random.default_rng(seed).permutation(len(item_ids))
    torch.manual_seed(seed)
    backbone = build_backbone(model.backbone.config, len(item_ids)).eval()
    popularity = Popularity(counts, np.zeros_like(counts))
    return Recommender(backbone, model.strata, popularity, np.array(item_ids, object), exclude_seen=model.exclude_seen)


def ask(scorer, w):
    users = w.users
    return target_ranks(scorer, w.sequences, users, w.split.test_at, w.split.exclude_seen)


def test_ranks_do_not_depend_on_the_order_of_items(planted_world, model):
    """The model itself compared with its alignment to a reversed catalogue."""
    w = planted_world
    scorer, known = align(model, w.item_ids, 100)
    assert scorer is model
    assert known.all()
    aligned = AlignedModel(model, w.item_ids, 100)
    np.testing.assert_array_equal(ask(aligned, w).rank, ask(model, w).rank)


def test_an_aligned_model_recommends_as_in_serving(planted_world, model):
    """Known to the model are half of the data's items and some others: the best ten are what `recommend` says."""
    w = planted_world
    other = with_catalogue(model, [*w.item_ids[::2], "new1", "new2", "new3"])
    aligned = AlignedModel(other, w.item_ids, int(w.sequences.lengths.max()))
    users = w.users[:50]
    at = w.split.test_at[users]
    histories = w.sequences.windows(users, at, int(at.max()))
    scores = aligned.scores(torch.from_numpy(histories), at)
    columns = np.array([*w.item_ids, *other.item_ids[aligned._alone]], object)
    raw = [w.item_ids[row[row > 0] - 1].tolist() for row in histories]
    for row, (items, found, *_) in zip(scores, other.recommend(raw, k=10, exclude_seen=False), strict=True):
        best = row.topk(10)
        assert columns[best.indices.numpy()].tolist() == items
        np.testing.assert_allclose(best.values.numpy(), found, rtol=1e-5)


def test_unknown_events_are_skipped_and_do_not_count_for_routing(planted_world, model):
    asked = []

    class Recording(Recommender):
        def scores(self, histories, lengths):
            asked.append((histories.tolist(), lengths.tolist()))
            return super().scores(histories, lengths)

    w = planted_world
    knows_five = with_catalogue(model, w.item_ids[:5])
    recording = Recording(knows_five.backbone, model.strata, knows_five.popularity, knows_five.item_ids)
    histories = torch.tensor([[0, 1, 9, 2, 8, 3], [7, 7, 7, 7, 7, 7]])
    AlignedModel(recording, w.item_ids, 6).scores(histories, np.array([6, 5]))
    assert asked == [([[0, 0, 0, 1, 2, 3], [0] * 6], [4, 0])]


def test_unknown_items_are_below_all_known_items(planted_world, model):
    w = planted_world
    other = with_catalogue(model, w.item_ids[:40])
    aligned = AlignedModel(other, w.item_ids, 60)
    scores = aligned.scores(torch.ones(3, 5, dtype=torch.long), np.array([5, 5, 5]))
    assert (scores[:, 40:].max(1).values < scores[:, :40].min(1).values).all()
    assert aligned.known.sum() == 40


def test_an_unknown_target_counts_as_a_miss(model):
    """In a catalogue of a dozen items, tied with the other unknown ones, it would be among the first ten."""
    events = generate_interactions(SyntheticLog(users=60, items=12, min_events=3, max_events=5))
    sequences, _, ids = build_sequences(events)
    split = split_sequences(sequences, Splitting(), ExcludeSeen(False))
    item_ids = ids.to_numpy(object)
    other = with_catalogue(model, item_ids[:5])
    held = run_challenge(other, model, as_dataset(sequences, split, item_ids, model.strata))
    known = sequences.items[sequences.offsets[:-1] + split.test_at] <= 5
    aligned = AlignedModel(other, item_ids, 5)
    users = np.arange(sequences.n_users)
    ndcg = user_metrics(target_ranks(aligned, sequences, users, split.test_at, split.exclude_seen))["ndcg_at_10"]
    assert (ndcg[~known] > 0).any()
    assert held.unknown_targets[0] == (~known).sum()
    assert held.groups["all"]["users"] == len(users)
    assert held.groups["all"]["challenger"] == pytest.approx((ndcg * known).mean())


def test_a_model_against_itself_gains_nothing_and_others_lose(planted_world, model):
    w = planted_world
    same = run_challenge(model, model, w.dataset).groups["tail"]
    assert same["gain"] == {"relative": 0.0, "low": 0.0, "high": 0.0}
    noise = with_catalogue(model, w.item_ids)
    worse = run_challenge(noise, model, w.dataset).groups["tail"]
    assert worse["gain"]["high"] < -0.2
    assert worse["challenger"] < same["challenger"]


def test_the_trained_model_beats_popularity(planted_world, model):
    w = planted_world
    held = run_challenge(model, PopularityScorer(w.popularity), w.dataset)
    assert held.groups["tail"]["gain"]["low"] > 0
    assert sum(held.groups[f"q{q}"]["users"] for q in range(1, 6)) == held.groups["all"]["users"]


def test_a_score_that_is_not_finite_is_an_error(planted_world, model):
    w = planted_world
    broken = replace(model, popularity=Popularity(w.popularity.counts, w.popularity.recent),
                     backbone=build_backbone(model.backbone.config, w.n_items).eval())  # fmt: skip
    with torch.no_grad():
        for parameter in broken.backbone.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        run_challenge(broken, model, w.dataset)


def test_coverage_counts_items_that_any_user_sees():
    """Two users of a catalogue of 20 items, and of 5 more that only the model knows."""
    one, other = [25, 24, 23, 22, 21, 20, 19, 18, 17, 16], [10, 9, 8, 3, 2, 1, 0, 0, 0, 0]
    assert coverage(np.array([one]), 20) == pytest.approx(5 / 20)
    assert coverage(np.array([one, other]), 20) == pytest.approx(11 / 20)


def test_popularity_covers_little_and_a_trained_model_more(planted_world, model):
    w = planted_world
    held = run_challenge(model, PopularityScorer(w.popularity), w.dataset)
    assert held.reference_coverage < held.coverage <= 1


def test_a_challenger_with_another_policy_on_seen_items_is_refused(planted_world, model):
    w, other = planted_world, replace(model, exclude_seen=True)
    with pytest.raises(InputError, match=r"served with exclude_seen = true, but the targets in data/ .* = false"):
        run_challenge(other, model, w.dataset)
    assert not run_challenge(model, other, w.dataset).as_served
    assert run_challenge(model, model, w.dataset).as_served
