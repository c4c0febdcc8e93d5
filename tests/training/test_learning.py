"""Training learns planted transitions and no noise; a trained model is stored and served as it was evaluated."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro import evidence as evidence_module
from pinet_kedro.activeness import Strata
from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.asking import Constraints
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.metrics import user_metrics
from pinet_kedro.evaluation.ranks import target_ranks
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.losses.config import FullSoftmaxConfig, SampledSoftmaxConfig
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import Recommender
from pinet_kedro.training.backbone import DivergedError, _Shuffled, _Training, train_backbone
from pinet_kedro.training.batches import quotas

MODES = {"joint": None, "deconfounded": DeconfoundedConfig()}
in_both_modes = pytest.mark.parametrize("aggregation", MODES.values(), ids=MODES.keys())


def train(world, config, aggregation, **changes):
    """Trains on a world; `schedule` is merged, `split`, `strata` and `on_epoch` replace what is usual."""
    on_epoch = changes.pop("on_epoch", lambda report: None)
    parts = {part: changes.pop(part) for part in ("split", "strata") if part in changes}
    schedule = config.schedule.model_copy(update=changes.pop("schedule", {}))
    config = config.model_copy(update={"schedule": schedule, "aggregation": aggregation, **changes})
    return train_backbone(world.having(**parts).dataset, config, on_epoch)


def ndcg(world, scorer):
    at = world.split.test_at
    ranks = target_ranks(scorer, world.sequences, world.users, at, world.split.exclude_seen)
    return user_metrics(ranks)["ndcg_at_10"].mean()


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


SHORT = {"epochs": 1, "batch_users": 100}


@in_both_modes
def test_planted_transitions_are_learned(planted_world, small_training, aggregation):
    model = train(planted_world, small_training, aggregation)
    popularity = ndcg(planted_world, PopularityScorer(planted_world.popularity))
    assert ndcg(planted_world, BackboneScorer(model)) > 1.7 * popularity


def test_planted_transitions_are_learned_from_sampled_candidates(planted_world, small_training):
    model = train(planted_world, small_training, DeconfoundedConfig(), loss=SampledSoftmaxConfig(uniform_items=15))
    popularity = ndcg(planted_world, PopularityScorer(planted_world.popularity))
    assert ndcg(planted_world, BackboneScorer(model)) > 1.7 * popularity


@in_both_modes
def test_noise_is_not_learned(noise_world, small_training, aggregation):
    model = train(noise_world, small_training, aggregation)
    popularity = ndcg(noise_world, PopularityScorer(noise_world.popularity))
    assert ndcg(noise_world, BackboneScorer(model)) < 1.1 * popularity


@in_both_modes
def test_weights_depend_on_the_seed_and_not_on_the_global_generator(planted_world, small_training, aggregation):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights_of(train(planted_world, small_training, aggregation, schedule=SHORT))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(weights_of(train(planted_world, small_training, aggregation, schedule=SHORT)), first)
    assert not torch.allclose(
        weights_of(train(planted_world, small_training, aggregation, schedule=SHORT, seed=2)), first
    )


def test_aggregation_changes_the_result(planted_world, small_training):
    results = [weights_of(train(planted_world, small_training, mode, schedule=SHORT)) for mode in MODES.values()]
    assert not torch.allclose(*results)


@in_both_modes
def test_the_loss_decreases_and_reports_are_complete(planted_world, small_training, aggregation):
    reports = []
    train(planted_world, small_training, aggregation, schedule={"validate_every": 3}, on_epoch=reports.append)
    assert [r.epoch for r in reports] == list(range(1, 9))
    assert all(r.epochs == 8 for r in reports)
    assert reports[-1].loss < reports[0].loss - 0.5
    assert [bool(r.valid_ndcg) for r in reports] == [False, False, True, False, False, True, False, True]
    assert set(reports[-1].valid_ndcg) == {"all", "head", "tail"}
    assert reports[-1].valid_ndcg["all"] > reports[2].valid_ndcg["all"] > 0
    for report in reports:
        assert len(report.stratum_weights) == (5 if aggregation else 0)
        assert sum(report.stratum_weights) == pytest.approx(1 if aggregation else 0)


@in_both_modes
def test_diverging_learning_rate_names_epoch_and_step(planted_world, small_training, aggregation):
    with pytest.raises(DivergedError, match=r"is (nan|inf) at epoch 1, step 2\. .*learning_rate \(now 1e\+30\)"):
        train(planted_world, small_training, aggregation, schedule={"learning_rate": 1e30})


def test_divergence_in_a_stratum_names_it(planted_world, small_training, monkeypatch):
    loss, calls = _Training._loss, []

    def poisoned(self, *arguments):
        calls.append(loss(self, *arguments))
        return calls[-1] * (float("nan") if len(calls) == 5 + 3 else 1)

    monkeypatch.setattr(_Training, "_loss", poisoned)
    with pytest.raises(DivergedError, match="loss of stratum 3 is nan at epoch 1, step 2"):
        train(planted_world, small_training, DeconfoundedConfig())


def test_divergence_keeps_the_best_validated_epoch(planted_world, small_training, monkeypatch):
    """The best epoch equals a training that ends at this epoch."""
    loss, reports = _Training._loss, []

    def poisoned(self, *arguments):
        return loss(self, *arguments) * (float("nan") if len(reports) == 5 else 1)

    monkeypatch.setattr(_Training, "_loss", poisoned)
    schedule = {"validate_every": 2}
    with pytest.raises(DivergedError, match="epoch 6, step 1") as caught:
        train(planted_world, small_training, None, schedule=schedule, on_epoch=reports.append)
    ndcg_of = {report.epoch: report.valid_ndcg["all"] for report in reports if report.valid_ndcg}
    assert set(ndcg_of) == {2, 4}
    best = caught.value.best
    assert (best.epoch, best.valid_ndcg) == max(ndcg_of.items(), key=lambda item: item[1])
    reports.clear()
    until = train(planted_world, small_training, None, schedule=schedule | {"epochs": best.epoch})
    assert torch.equal(weights_of(best.backbone), weights_of(until))


def test_divergence_before_any_validation_has_no_best_epoch(planted_world, small_training):
    with pytest.raises(DivergedError) as caught:
        train(planted_world, small_training, None, schedule={"learning_rate": 1e30})
    assert caught.value.best is None


def test_a_validation_score_that_is_not_finite_is_divergence(planted_world, small_training):
    schedule = {"learning_rate": 1e30, "batch_users": 1000, "validate_every": 1}  # one step an epoch
    with pytest.raises(DivergedError, match=r"a validation score is not finite after epoch 1\. .*learning_rate"):
        train(planted_world, small_training, None, schedule=schedule)


@in_both_modes
@pytest.mark.parametrize("loss", [FullSoftmaxConfig(), SampledSoftmaxConfig(uniform_items=15)], ids=["full", "sampled"])
def test_weights_do_not_depend_on_held_out_events(planted_world, small_training, aggregation, loss):
    """Other held-out events, same weights."""
    small_training = small_training.model_copy(update={"loss": loss})
    first = weights_of(train(planted_world, small_training, aggregation, schedule=SHORT))
    w = planted_world
    items = w.sequences.items.copy()
    held_out = ~w.split.in_training(w.sequences)
    items[held_out] = items[held_out] % w.n_items + 1
    changed = w.having(sequences=replace(w.sequences, items=items))
    assert torch.equal(weights_of(train(changed, small_training, aggregation, schedule=SHORT)), first)


def with_short_histories(world, events):
    """The split where a fifth of the users have so many training events, and who they are."""
    few = world.users % 5 == 0
    train_end = np.where(few, events, world.split.train_end)
    return replace(world.split, train_end=train_end), few


@in_both_modes
@pytest.mark.parametrize("events", [0, 1])
def test_users_with_a_single_training_event_are_left_out(
    planted_world, small_training, aggregation, events, monkeypatch
):
    split, few = with_short_histories(planted_world, events)
    taken, take = [], _Shuffled.take
    monkeypatch.setattr(_Shuffled, "take", lambda self, n: taken.append(take(self, n)) or taken[-1])
    model = train(planted_world, small_training, aggregation, split=split, schedule=SHORT)
    assert torch.isfinite(weights_of(model)).all()
    assert not few[np.concatenate(taken)].any()


def test_a_stratum_without_training_users_has_weight_zero(planted_world, small_training):
    """A cut in time leaves many users without training events: they are a stratum, but there is nothing to draw."""
    split, _ = with_short_histories(planted_world, 1)
    strata = planted_world.strata.model_copy(update={"training": Strata(thresholds=(2, 8, 10_000))})
    reports = []
    train(
        planted_world,
        small_training,
        DeconfoundedConfig(),
        split=split,
        strata=strata,
        schedule=SHORT,
        on_epoch=reports.append,
    )
    weights = reports[0].stratum_weights
    assert weights[0] == weights[3] == 0
    assert weights[1] > 0
    assert weights[2] > 0
    assert sum(weights) == pytest.approx(1)


def test_no_user_with_two_training_events_is_an_error(planted_world, small_training):
    split = replace(planted_world.split, train_end=np.ones_like(planted_world.split.train_end))
    with pytest.raises(ValueError, match="no user has two training events"):
        train(planted_world, small_training, None, split=split)


@in_both_modes
@pytest.mark.parametrize("batch_users", [4, 10_000], ids=["fewer users than strata", "more users than there are"])
def test_any_batch_size_trains(planted_world, small_training, aggregation, batch_users):
    model = train(planted_world, small_training, aggregation, schedule={"epochs": 1, "batch_users": batch_users})
    assert torch.isfinite(weights_of(model)).all()


@in_both_modes
def test_epoch_reads_every_user_once(planted_world, small_training, aggregation, monkeypatch):
    """Where the batch divides the users; every stratum in proportion."""
    taken, take = [], _Shuffled.take
    monkeypatch.setattr(_Shuffled, "take", lambda self, n: taken.append(take(self, n)) or taken[-1])
    thresholds = Strata(thresholds=(int(np.sort(planted_world.split.train_end)[150]),))
    strata = planted_world.strata.model_copy(update={"training": thresholds})
    train(planted_world, small_training, aggregation, strata=strata, schedule={"epochs": 1, "batch_users": 300})
    assert sorted(np.concatenate(taken)) == planted_world.users.tolist()


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ([20, 20, 20, 20, 20], 25, [5, 5, 5, 5, 5]),
        ([50, 30, 20], 10, [5, 3, 2]),
        ([5, 3, 2], 1000, [5, 3, 2]),
        ([997, 2, 1], 10, [10, 1, 1]),  # at least one, beyond the total
        ([34, 33, 33], 10, [4, 3, 3]),
        ([7], 3, [3]),
    ],
)
def test_quotas_follow_the_users_and_leave_no_stratum_out(sizes, total, expected):
    assert quotas(sizes, total) == expected


def test_a_stream_reads_all_users_before_it_repeats_one():
    users = np.arange(10, 17)
    stream = _Shuffled(users, np.random.default_rng(0))
    drawn = np.concatenate([stream.take(3) for _ in range(7)])
    for one_pass in drawn.reshape(3, 7):
        assert sorted(one_pass) == users.tolist()
    assert not np.array_equal(drawn[:7], drawn[7:14])
    assert len(stream.take(20)) == 20


def test_windows_of_a_batch_are_training_events_and_their_next_items(planted_world, small_training):
    w = planted_world
    training = _Training(w.dataset, small_training.joint(), torch.device("cpu"))
    histories = {
        tuple(w.sequences.items[w.sequences.offsets[u] : w.sequences.offsets[u] + w.split.train_end[u]].tolist())
        for u in w.users
    }
    runs = {h[start : start + 11] for h in histories for start in range(max(1, len(h) - 10))}
    batches, moved = [], 0
    loss = training._loss
    training._loss = lambda *arguments: batches.append(arguments) or loss(*arguments)
    for step in range(10):
        training._step(1, step)
    assert sum(len(inputs) for inputs, *_ in batches) == 10 * small_training.schedule.batch_users
    for inputs, targets, _ in batches:
        at = 0
        for row in inputs.tolist():
            real = [item for item in row if item]
            window = (real[0], *targets[at : at + len(real)].tolist())
            at += len(real)
            assert window[:-1] == tuple(real)
            assert window in runs
            moved += len(window) == 11 and not any(h[-11:] == window for h in histories)
        assert at == len(targets)
    assert moved > 0  # some long histories are read at another place than their end


@pytest.fixture(scope="module")
def recommenders(planted_world, joint_backbone):
    """Without plugins, and with plugins of either kind."""
    w = planted_world

    def build(plugins):
        return Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, plugins)

    found = {"backbone": build(None)}
    for kind in ("logit_space", "state_space"):
        found[kind] = build(w.fit_plugins(joint_backbone, PluginTraining(kind=kind, folds=2)))
    return found


@pytest.fixture(params=["backbone", "logit_space", "state_space"])
def recommender(recommenders, request):
    return recommenders[request.param]


def test_a_loaded_recommender_scores_as_the_saved_one(planted_world, recommender, tmp_path, monkeypatch):
    def forbidden(*arguments, **named):
        raise AssertionError("something was unpickled")

    recommender.save(tmp_path)
    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load"), (np, "load")):
        monkeypatch.setattr(module, name, forbidden)
    loaded = Recommender.load(tmp_path)
    w = planted_world
    histories = torch.from_numpy(w.sequences.windows(w.users, w.split.test_at, 12))
    histories[0] = 0
    before, after = (r.scores(histories, w.split.train_end) for r in (recommender, loaded))
    assert torch.equal(before, after)
    assert loaded.item_ids.tolist() == recommender.item_ids.tolist()
    assert loaded.strata == recommender.strata
    assert (loaded.plugins is None) == (recommender.plugins is None)
    if loaded.plugins is not None:
        assert loaded.plugins.choice == recommender.plugins.choice


def test_the_folder_contains_only_weights_and_json(recommender, tmp_path):
    recommender.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["items.json", "recommender.json", "weights.safetensors"]


def test_plugins_keep_the_quality_of_the_backbone(planted_world, recommenders):
    backbone, pin = (ndcg(planted_world, recommenders[name]) for name in ("backbone", "logit_space"))
    assert pin > 0.97 * backbone


def test_recommendations_are_the_best_unseen_items_in_order(planted_world, recommender):
    w = planted_world
    history = w.item_ids[[3, 8, 3, 20]].tolist()
    [(items, scores, group, *_)] = recommender.recommend([history], k=5)
    padded = torch.zeros(1, recommender.history_length, dtype=torch.int64)
    padded[0, -4:] = torch.tensor([4, 9, 4, 21])
    logits = recommender.scores(padded, np.array([4]))[0].tolist()
    expected = sorted((j for j in range(w.n_items) if j not in (3, 8, 20)), key=lambda j: -logits[j])[:5]
    assert items == w.item_ids[expected].tolist()
    assert scores == pytest.approx([logits[j] for j in expected], rel=1e-5)
    assert group == "tail"


def test_scores_of_short_histories_are_those_of_backbone_or_plugin(planted_world, recommender):
    w = planted_world
    histories = torch.from_numpy(w.sequences.windows(w.users, np.minimum(w.users % 14 + 1, w.split.train_end), 10))
    if recommender.plugins is None:
        expected = BackboneScorer(recommender.backbone).scores(histories, w.split.train_end)
    else:
        stratum = w.strata.training.assign(w.split.train_end)
        expected = recommender.plugins.logits(recommender.evidence(histories), stratum).detach()
    torch.testing.assert_close(recommender.scores(histories, w.split.train_end), expected)


def test_only_the_newest_items_of_a_long_history_are_read(planted_world, recommender):
    w = planted_world
    length = recommender.history_length
    numbers = np.arange(1, 31)
    logits = recommender.scores(torch.from_numpy(numbers[None, -length:]), np.array([30]))[0]
    [(items, scores, *_)] = recommender.recommend([w.item_ids[numbers - 1].tolist()], k=5, exclude_seen=False)
    best = logits.topk(5)
    assert items == w.item_ids[best.indices.numpy()].tolist()
    assert scores == pytest.approx(best.values.tolist(), rel=1e-5)


def test_seen_items_are_excluded_by_default(planted_world, recommender):
    history = planted_world.item_ids[:30].tolist()
    [(without, *_)] = recommender.recommend([history], k=1000)
    [(everything, *_)] = recommender.recommend([history], k=1000, exclude_seen=False)
    assert sorted(without) == sorted(planted_world.item_ids[30:])
    assert sorted(everything) == sorted(planted_world.item_ids)


def test_a_user_who_has_seen_all_items_gets_no_recommendations(planted_world, recommender):
    assert recommender.recommend([planted_world.item_ids.tolist()])[0][:2] == ([], [])


def test_unknown_items_are_skipped(planted_world, recommender):
    known = planted_world.item_ids[[3, 8]].tolist()
    [with_unknown], [without] = (
        recommender.recommend([history]) for history in (["?", known[0], "new", known[1], "?"], known)
    )
    assert (with_unknown.unknown_items, without.unknown_items) == (3, 0)
    assert with_unknown._replace(unknown_items=0) == without
    assert not without.fallback


def only(lists):
    return [Constraints(only=items) for items in lists]


def test_an_allow_list_of_all_items_changes_nothing(planted_world, recommender):
    ids = planted_world.item_ids.tolist()
    histories = [ids[:2], [], ids[10:40], ["?"]]
    assert recommender.recommend(histories, k=60, constraints=only([ids, ["?", *ids], ids[::-1], ids])) == (
        recommender.recommend(histories, k=60)
    )


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_an_allow_list_leaves_scores_and_order_as_they_are(planted_world, recommender, monkeypatch, block):
    ids = planted_world.item_ids.tolist()
    histories = [ids[:2], ids[3:5], ids[10:40], ids[20:30], ids[7:9]]
    lists = [ids[::3], None, ids[30:50], [], [ids[50], "?", ids[50], ids[7]]]
    everything = recommender.recommend(histories, k=60)
    monkeypatch.setattr(evidence_module, "_BLOCK_USERS", block)
    answers = recommender.recommend(histories, k=60, constraints=only(lists))
    for full, allowed, answer in zip(everything, lists, answers, strict=True):
        kept = [place for place, item in enumerate(full.items) if allowed is None or item in allowed]
        assert answer.items == [full.items[place] for place in kept]
        assert answer.scores == pytest.approx([full.scores[place] for place in kept], rel=1e-4)
        assert answer.unknown_items == 0


def test_items_in_both_lists_and_seen_items_are_excluded_from_an_allow_list(planted_world, recommender):
    ids = planted_world.item_ids.tolist()
    limited = Constraints(exclude=[ids[5]], only=[ids[0], ids[5], ids[6]])
    asked = {"histories": [ids[:2]], "constraints": [limited]}
    assert recommender.recommend(**asked)[0].items == [ids[6]]
    assert sorted(recommender.recommend(**asked, exclude_seen=False)[0].items) == sorted([ids[0], ids[6]])


def test_empty_history_gets_popularity_with_recency(planted_world, recommender):
    popularity = planted_world.popularity
    expected = np.log(popularity.counts + 1) + np.log((popularity.recent + 1) / (popularity.counts + 2))
    for history in ([], ["unknown"]):
        [(items, scores, group, unknown, fallback, _)] = recommender.recommend([history], k=3)
        assert (unknown, fallback) == (len(history), True)
        assert items == planted_world.item_ids[np.argsort(-expected, kind="stable")[:3]].tolist()
        assert scores == pytest.approx(np.sort(expected)[::-1][:3])
        assert group == "tail"


def test_users_of_one_call_do_not_affect_each_other(planted_world, recommender):
    ids = planted_world.item_ids
    histories = [ids[:2].tolist(), [], ids[10:40].tolist(), ids[[5, 5, 5]].tolist()]
    together = recommender.recommend(histories)
    for history, (items, scores, group, *_) in zip(histories, together, strict=True):
        [(alone, alone_scores, alone_group, *_)] = recommender.recommend([history])
        assert (items, group) == (alone, alone_group)
        assert scores == pytest.approx(alone_scores, rel=1e-4)


@pytest.mark.parametrize("block", [1, 3])
def test_recommendations_do_not_depend_on_the_blocks_of_users(planted_world, recommender, monkeypatch, block):
    ids = planted_world.item_ids
    histories = [ids[:2].tolist(), [], ids[10:40].tolist(), ids[[5, 5, 5]].tolist(), ids[7:9].tolist()]
    excluded = [Constraints(exclude=items) for items in ([], ids[:3].tolist(), [], [], ids[20:30].tolist())]
    together = recommender.recommend(histories, constraints=excluded)
    monkeypatch.setattr(evidence_module, "_BLOCK_USERS", block)
    in_blocks = recommender.recommend(histories, constraints=excluded)
    for (items, scores, group, *_), (others, other_scores, other_group, *_) in zip(together, in_blocks, strict=True):
        assert (items, group) == (others, other_group)
        assert scores == pytest.approx(other_scores, rel=1e-4)


def test_active_user_is_in_the_head(planted_world, recommender):
    least = planted_world.strata.head_tail.thresholds[0]
    ids = np.resize(planted_world.item_ids, least).tolist()
    assert [found.stratum for found in recommender.recommend([ids, ids[:-1]])] == ["head", "tail"]


def test_no_users_get_no_recommendations(recommender):
    assert recommender.recommend([]) == []
