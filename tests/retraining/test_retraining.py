"""Where a round of retraining starts, and what it takes over from one that was interrupted."""

import copy
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import MemoryDataset

from pinet_kedro.backbones.backbone import build_backbone
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.interactions.events import Cleaning, Interactions
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.promotion.decision import Decision, Gate, not_measured
from pinet_kedro.randomness import Generators
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.loading import VersionModels
from pinet_kedro.retraining.champion import KEY, SPLIT, Champion, champion_of
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.intake import Arrival, Intake
from pinet_kedro.retraining.page import render_summary
from pinet_kedro.retraining.partitions import RAW_LOG, work_key
from pinet_kedro.retraining.steps import RetrainingSummary, choose_start, hold_out, measure
from pinet_kedro.studies.replay.next_period import NO_NEXT, judge_by_next
from pinet_kedro.studies.replay.replay import (
    NO_REFRESH,
    NO_TRAINING,
    Replay,
    cut,
    line,
    reasons_of,
    render_replay,
    summary,
    ways_of,
)

BY_TIME, LAST_EVENT = Splitting(rule="global_time"), Splitting(rule="leave_one_out")


@pytest.fixture
def planned(planted_world, joint_backbone, small_training):
    """Where training starts from a champion that has learnt from events until `until`."""
    w = planted_world

    def start(
        until=0, splitting=BY_TIME, training=small_training, tags=None, crowned=True, judged=None, trained_on=None,
        **settings,
    ):  # fmt: skip
        model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
        models = VersionModels(model, served_until=until)
        if judged is not None:
            models = replace(models, judged=replace(model, backbone=judged[0]), judged_until=judged[1])
        champion = Champion("3", models, trained_on, tags or {}) if crowned else None
        config, keep = Retraining(**settings), ExcludeSeen(False)
        intake = Intake(arrivals=(), partitions={RAW_LOG: "1", "a.csv": "2"})
        held_out = hold_out(champion, Interactions.of(w.events), splitting, keep, config, intake)
        split = split_sequences(w.sequences, held_out.splitting, keep)
        return choose_start(champion, held_out, w.having(split=split).dataset, training, config)

    return start


def test_warm_takes_the_weights_and_a_share_of_the_epochs(planned, joint_backbone):
    start = planned(warm_epochs=0.5)
    assert start.why == "warm: from version 3, 4 epochs instead of 8"
    assert start.config.schedule.epochs == 4
    assert start.backbone.item_vectors().equal(joint_backbone.item_vectors())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"start": "cold"}, "as configured"),
        ({"crowned": False}, "there is no champion yet"),
        ({"until": None}, "it is not known until when version 3 has learnt"),
        ({"until": 9 * 10**18}, "version 3 has learnt from events until 2255-03-14, some of them held out now"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_cold_says_why(planned, small_training, asked, why):
    start = planned(**asked)
    assert start.why.startswith(f"cold: {why}")
    assert start.backbone is None
    assert start.config == small_training


def test_a_champion_that_may_have_seen_what_is_held_out_is_known_whatever_training_starts_from(planned):
    assert planned(until=None, start="cold").seen.startswith("it is not known until when version 3 has learnt")
    assert planned().seen is None
    assert planned(crowned=False).seen is None


def test_another_backbone_starts_cold(planned, small_training):
    backbone = small_training.backbone.model_copy(update={"width": 32})
    start = planned(training=small_training.model_copy(update={"backbone": backbone}))
    assert start.why == "cold: the backbone of version 3 is configured otherwise"


def test_a_champion_that_left_out_last_events_goes_on_leaving_out_last_events(planned):
    tags = {SPLIT: "leave_one_out"}
    assert planned(until=9 * 10**18, splitting=LAST_EVENT, tags=tags).backbone is not None
    assert planned(until=9 * 10**18, splitting=LAST_EVENT, tags={SPLIT: "global_time"}).backbone is None
    assert planned(until=9 * 10**18, splitting=BY_TIME, tags=tags).backbone is None


def test_last_events_may_have_been_learnt_where_a_part_of_the_log_was_replaced(planned):
    """The old histories may have gone on after them."""
    asked = {"splitting": LAST_EVENT, "tags": {SPLIT: "leave_one_out"}}
    assert planned(trained_on={RAW_LOG: "1"}, **asked).backbone is not None
    for trained_on, what in (({RAW_LOG: "0"}, "the raw log"), ({RAW_LOG: "1", "a.csv": "9"}, "a.csv")):
        start = planned(trained_on=trained_on, **asked)
        assert start.why == f"cold: version 3 has learnt another content of {what}, with events held out now"
        assert start.seen is not None


def test_after_a_refit_training_starts_from_the_model_that_cannot_have_seen_the_targets(planned, joint_backbone):
    other = copy.deepcopy(joint_backbone)
    with torch.no_grad():
        other.item_vectors().add_(1)

    def taken(*untils, **more):
        return planned(until=untils[0], judged=(other, untils[1]), **more).backbone

    late = 9 * 10**18
    assert taken(0, 0).item_vectors().equal(joint_backbone.item_vectors())
    assert taken(late, 0).item_vectors().equal(other.item_vectors())
    assert taken(late, late) is None


def test_a_refit_has_learnt_the_validation_events_of_users_without_new_ones(planned, joint_backbone):
    refit = {"judged": (joint_backbone, 0), "splitting": LAST_EVENT, "tags": {SPLIT: "leave_one_out"}}
    start = planned(until=0, **refit)
    assert start.why == "cold: version 3 has learnt validation events of users without new ones"
    assert start.seen is None  # it has learnt no test target, so the comparison with it is fair


def test_of_a_champion_that_has_learnt_nearly_all_only_newer_events_are_held_out(planned, planted_world):
    """As after `full`: its models have learnt until 90 and until 85 % of the log, which is cut at 80 and 90 %."""
    w = planted_world
    times = np.sort(w.sequences.timestamps)
    served, judged = (int(times[int(len(times) * share)]) for share in (0.9, 0.85))

    def held_out(start):
        split = split_sequences(w.sequences, start.splitting, ExcludeSeen(False))
        return w.sequences.timestamps[~split.in_training(w.sequences)], split

    alone = planned(until=served, newer_targets=5)
    assert alone.why.startswith("warm: from version 3")
    assert "held out is only what is newer than 20" in alone.why
    assert alone.seen is None
    assert held_out(alone)[0].min() == times[times > served].min()
    _, split = held_out(alone)
    assert min((split.valid_at > 0).sum(), (split.test_at > 0).sum()) >= 5

    refitted = planned(until=served, judged=(planned().backbone, judged), newer_targets=5)
    assert refitted.why.startswith("warm")
    assert held_out(refitted)[0].min() == times[times > judged].min()  # … so more is held out

    earlier = planned(until=served, judged=(planned().backbone, int(times[len(times) // 2])), newer_targets=5)
    assert earlier.splitting == BY_TIME  # the judged model has learnt nothing that is held out as configured

    few = planned(until=served, newer_targets=300)
    assert re.search(
        r"^cold: version 3 has learnt from events until \S+, some of them held out now; newer events have \d+ "
        r"validation and \d+ test targets, and 300 of each are needed \(retraining\.newer_targets\)$",
        few.why,
    )
    assert few.splitting == BY_TIME
    assert few.seen.endswith("some of them held out now")


def test_the_key_of_a_round_is_its_partitions_and_parameters_but_not_where_it_is_recorded():
    base = work_key({"a": "1"}, {"x": 1, "tracking": {"uri": "here"}})
    assert base == work_key({"a": "1"}, {"x": 1, "tracking": {"uri": "there"}})
    assert (
        len({base, work_key({"a": "2"}, {"x": 1}), work_key({"a": "1"}, {"x": 2}), work_key({"b": "1"}, {"x": 1})}) == 4
    )


def test_the_work_is_done_only_if_its_version_is_the_champion(tmp_path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert champion_of(client, "pinet", "k") is None
    client.create_registered_model("pinet")
    for _ in range(2):  # the same work with another table of items
        client.create_model_version("pinet", str(tmp_path), tags={KEY: "k"})
    for champion in ("1", "2"):
        client.set_registered_model_alias("pinet", "champion", champion)
        assert str(champion_of(client, "pinet", "k").version) == champion
    assert champion_of(client, "pinet", "other") is None


def test_drift_is_not_measured_where_its_reference_is_not_known(planted_world, joint_backbone):
    w = planted_world
    model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
    intake = Intake(arrivals=(Arrival(id="a", accepted=True),), partitions={"a": "1"})
    accepted = {"a": lambda: w.events}

    def missing(trained_on, **more):
        champion = Champion("3", VersionModels(model), trained_on, {})
        found = measure(champion, None, accepted, intake.model_copy(update=more), Cleaning())
        assert found.window.events == len(w.events)
        return found.missing[0]

    assert "it is not known on which events version 3 was trained" in missing(None)
    assert "none of the partitions that version 3 was trained on is kept here" in missing({"gone": "0"})
    for other in ({}, {RAW_LOG: "2"}):
        told = missing({RAW_LOG: "1"}, partitions={"a": "1", **other})
        assert told == "version 3 was trained on a raw log that is not the one of this run"


def test_the_reference_of_drift_is_the_raw_log_and_the_partitions_that_the_champion_was_trained_on(
    planted_world, joint_backbone
):
    w = planted_world
    model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
    parts = [w.events.iloc[: len(w.events) // 2], w.events.iloc[len(w.events) // 2 :]]
    raw_log = RawLog(lambda: MemoryDataset(Interactions.canonical(parts[0], "the log")))
    accepted = {"a": lambda: parts[1].head(30), "b": lambda: parts[1].tail(40)}
    intake = Intake(arrivals=(Arrival(id="b", accepted=True),), partitions={RAW_LOG: "1", "a": "2", "b": "3"})
    for trained_on, events in (({RAW_LOG: "1"}, len(parts[0])), ({RAW_LOG: "1", "a": "2"}, len(parts[0]) + 30),
                               ({"a": "2"}, 30)):  # fmt: skip
        drift = measure(Champion("3", VersionModels(model), trained_on, {}), raw_log, accepted, intake, Cleaning())
        assert (drift.reference.events, drift.window.events) == (events, 40)


def test_drift_says_where_a_part_of_its_reference_is_not_what_the_champion_has_learnt(planted_world, joint_backbone):
    """Of one partition the content was replaced since, another one was never here."""
    w = planted_world
    model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
    accepted = {name: lambda: w.events.head(30) for name in "abd"}
    intake = Intake(arrivals=(Arrival(id="d", accepted=True),), partitions={"a": "1", "b": "another", "d": "4"})
    champion = Champion("3", VersionModels(model), {"a": "1", "b": "2", "c": "3"}, {})
    drift = measure(champion, None, accepted, intake, Cleaning())
    assert drift.reference.events == 30
    assert (
        drift.missing[-1]
        == "2 of the 3 partitions that version 3 was trained on are not kept here: the reference lacks them"
    )


def test_a_partition_that_the_champion_has_learnt_is_its_reference_even_where_it_does_not_count_as_taken(
    planted_world, joint_backbone
):
    """As after a run that was killed between its promotion and its end, when another file has come in."""
    w = planted_world
    model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
    accepted = {"a": lambda: w.events.head(30), "b": lambda: w.events.tail(20)}
    champion = Champion("3", VersionModels(model), {"a": "1"}, {})

    def drift(*names):
        arrivals = tuple(Arrival(id=name, accepted=True) for name in names)
        return measure(champion, None, accepted, Intake(arrivals=arrivals, partitions={"a": "1", "b": "2"}), Cleaning())

    assert drift("a", "b") == drift("b")
    assert (drift("b").reference.events, drift("b").window.events) == (30, 20)
    assert drift("a").missing == ("there is no new partition, all of them have been learnt",)


def test_drift_is_that_of_events_which_reach_the_rating_threshold(planted_world, joint_backbone):
    w = planted_world
    model = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=w.split.exclude_seen)
    rated = w.events.assign(rating=np.arange(len(w.events)) % 5 + 1.0)
    accepted = {"a": lambda: rated.iloc[:-50], "b": lambda: rated.iloc[-50:]}
    intake = Intake(arrivals=(Arrival(id="b", accepted=True),), partitions={"a": "1", "b": "2"})

    def drift(parts, threshold=None):
        champion = Champion("3", VersionModels(model), {"a": "1"}, {})
        return measure(champion, None, parts, intake, Cleaning(rating_threshold=threshold))

    liked = {name: lambda read=read: read().query("rating >= 4") for name, read in accepted.items()}
    assert drift(accepted, 4) == drift(liked) != drift(accepted)


def test_the_page_of_a_first_round_says_what_is_missing():
    decision = Decision(
        promoted=False, model="pinet", version="1", against="popularity", champion_before=None, date="2024-01-01",
        reasons=("tail gain: none",),
    )  # fmt: skip
    drift = {"window": {"events": 3, "users": 2, "items": 3}, "missing": ["there is no champion yet"]}
    arrivals = [
        {"id": "<a>", "accepted": True, "events": 3},
        {"id": "b", "accepted": False, "report": "x", "place": "y"},
    ]
    told = render_summary(
        RetrainingSummary.model_validate(
            {
                "intake": {"arrivals": arrivals, "partitions": {"<a>": "1"}}, "drift": drift, "start": "cold: why",
                "epochs": 3, "events": 3, "promotion": decision,
            }
        )
    )  # fmt: skip
    for text in (
        "Refused: pinet version 1",
        "tail gain: none",
        "&lt;a&gt;",
        "set aside: y",
        "there is no champion yet",
    ):
        assert text in told


@pytest.mark.parametrize(
    ("divergence", "told"),
    [(0.044, "much the same measure: what they share of the events has moved 1.1 times"), (0.2, "become more or less")],
)
def test_the_page_says_how_far_popularity_has_moved(divergence, told):
    size = {"events": 300, "users": 2, "items": 3}
    drift = {
        "model": "1", "reference": size, "window": size, "missing": [],
        "popularity": {"divergence": divergence, "by_chance": 0.04, "rank_correlation": 0.8},
        "activeness": {"distance": 0.1, "quantiles": {"10%": (1, 1), "50%": (2, 3)}, "strata": {"tail": (0.8, 0.7)}},
    }  # fmt: skip
    decision = Decision(
        promoted=False, model="pinet", version="1", against="popularity", champion_before=None, date="2024-01-01"
    )
    done = {
        "intake": {"arrivals": [], "partitions": {}}, "drift": drift, "start": "warm: from version 1, 1 epoch instead",
        "epochs": 1, "events": 3, "promotion": decision,
    }  # fmt: skip
    page = render_summary(RetrainingSummary.model_validate(done))
    assert told in page
    assert "quantiles 10%, 50%" in page
    assert "1, 2 → 1, 3" in page
    assert "Training: warm: from version 1, 1 epoch instead.</p>" in page


def test_a_log_is_cut_into_the_months_that_have_events():
    days = pd.to_datetime(["2020-01-31", "2020-02-01", "2020-02-03", "2020-05-01"])
    events = pd.DataFrame({"user_id": list("abcd"), "timestamp": days.as_unit("ns").astype("int64")})
    parts = dict(cut(events, "month"))
    assert {name: part["user_id"].tolist() for name, part in parts.items()} == {
        "2020-01": ["a"], "2020-02": ["b", "c"], "2020-05": ["d"],
    }  # fmt: skip
    assert all("/" not in name for name, _ in cut(events, "week"))


def test_the_champion_as_it_was_is_not_its_refresh_which_was_promoted():
    """Training in the same period finds the refresh as the champion."""
    trained = NO_TRAINING | {"champion": "2", "version": "3"}
    assert ways_of(NO_REFRESH | trained) == {"kept": "2", "refreshed": None, "trained": "3"}
    promoted = NO_REFRESH | {"refresh_against": "version 1", "refresh_version": "2", "refresh_outcome": "promoted"}
    assert ways_of(promoted | trained) == {"kept": "1", "refreshed": "2", "trained": "3"}
    refused = promoted | {"refresh_outcome": "refused"}
    assert ways_of(refused | trained | {"champion": "1"})["kept"] == "1"
    assert ways_of(NO_REFRESH | NO_TRAINING)["kept"] is None


def test_a_period_that_failed_is_told_with_the_others():
    done = {"period": "2020-01", "events": 3, "outcome": "failed", "decision": "failed: too few", "seconds": 2.0}
    rows = pd.DataFrame([{**NO_REFRESH, **NO_TRAINING, **NO_NEXT, **done}])
    assert line(done) == "2020-01: 3 events; failed: too few (2 s)"
    assert summary(rows).startswith("Replay: 1 periods, 0 promoted, 0 refused, 1 failed.")
    told = render_replay(rows, Replay())
    assert "failed: too few" in told


def test_a_period_without_enough_users_says_so_in_a_cell_and_names_the_way_out():
    asked = "low end of the 95 % interval above 0"
    gates = [
        Gate(name="coverage", passed=True, measured="1.0", asked="0.9"),
        Gate(name="latency", passed=False, measured="80 ms", asked="50 ms"),
        *(not_measured(f"{group} gain", "9 users, 100 are needed", asked) for group in ("all", "tail")),
    ]
    reasons = tuple(gate.reason for gate in gates if not gate.passed)
    decision = Decision(
        promoted=False, model="pinet", version="2", against="version 1", champion_before="1", date="2026-11-30",
        gates=tuple(gates), reasons=reasons,
    )  # fmt: skip
    assert reasons_of(decision) == "latency: 80 ms (required: 50 ms); not measured: all gain, tail gain"
    assert reasons_of(decision.model_copy(update={"reasons": ("the champion changed",)})) == "the champion changed"
    done = NO_REFRESH | NO_TRAINING | NO_NEXT | {"period": "2020-01", "events": 3, "outcome": "refused", "seconds": 2.0}
    rows = pd.DataFrame([done | {"reasons": reasons_of(decision)}, done | {"reasons": "latency: 80 ms"}])
    assert "In 1 of those refused, gains were not measured" in summary(rows)
    assert "leave_one_out" in summary(rows)
    assert "leave_one_out" not in summary(rows[1:])


def test_the_next_period_judges_models_by_what_they_recommend(planted_world, joint_backbone):
    w, events = planted_world, planted_world.events.sort_values(["user_id", "timestamp"], kind="stable")
    from_end = events.groupby("user_id").cumcount(ascending=False)
    events = events.assign(timestamp=1000 - from_end)  # so that all have new events at one time
    before, following = events[from_end >= 2], events[from_end < 2]
    kept = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids, exclude_seen=False)
    untrained = build_backbone(joint_backbone.config, w.n_items, Generators(0))
    row = judge_by_next({"kept": kept, "trained": replace(kept, backbone=untrained)}, before, following)
    of_user, gains = dict(list(before.groupby("user_id"))), []
    for user, target in following.groupby("user_id").first()["item_id"].items():
        if user in of_user:
            found = kept.recommend([of_user[user]["item_id"].tolist()])[0].items
            gains.append(1 / np.log2(2 + found.index(target)) if target in found else 0.0)
    assert row["next_targets"] == len(gains) > 100
    assert row["next_kept_all"] == pytest.approx(np.mean(gains))
    assert row["next_kept_all"] > row["next_popularity_all"]
    assert row["next_trained_gain_high"] < 0
    assert row["next_refreshed_all"] is row["next_refreshed_gain_low"] is None
    assert row.keys() == NO_NEXT.keys()
    assert "−" in render_replay(
        pd.DataFrame([NO_REFRESH | NO_TRAINING | row | {"period": "2020", "events": 1, "seconds": 1}]), Replay()
    )
    nobody = judge_by_next({"trained": kept}, before, following.assign(user_id="new"))
    assert nobody == NO_NEXT | {"next_targets": 0}
