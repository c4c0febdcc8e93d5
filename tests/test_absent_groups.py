"""Groups of users without targets: all other groups are trained and measured, and these are named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import build_dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.catalogue_alignment import PopularityScorer
from pinet_kedro.evaluation.challenge import run_challenge
from pinet_kedro.evaluation.comparison import compare, compare_as_shipped
from pinet_kedro.evaluation.ranks import rank_models
from pinet_kedro.evidence import BackboneScorer
from pinet_kedro.figures.results import gains_figure, quintiles_figure
from pinet_kedro.figures.studies import benchmark_forest_figure, benchmark_pareto_figure
from pinet_kedro.figures.training import learning_curves_figure
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.promotion.config import Gates
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.promotion.fresh_process import FreshProcessResult
from pinet_kedro.promotion.gates import GateInputs, judge
from pinet_kedro.recommender import Recommender
from pinet_kedro.registry.model_card import model_card
from pinet_kedro.registry.registration import _tags
from pinet_kedro.reporting.report import render_report
from pinet_kedro.reporting.statements import base_gap, summary_lines
from pinet_kedro.studies.benchmark.table import benchmark_table
from pinet_kedro.tracking.watching import watch_training
from pinet_kedro.training.backbone import train_backbone

CLEANING = pd.DataFrame({"rule": ["k-core"], "why": ["rare"], "rows": [0], "users": [0], "items": [0]})


def without(world, group, *parts):
    """The world's dataset, in which no user of this group has a target of these parts."""
    mask = world.strata.groups(world.dataset.activeness)[group]
    split = replace(world.split, **{part: np.where(mask, -1, getattr(world.split, part)) for part in parts})
    return replace(world.dataset, split=split)


@pytest.mark.parametrize(("absent", "left"), [("head", {"all", "tail"}), ("tail", {"all", "head"}), ("all", set())])
def test_a_curve_has_the_groups_with_validation_targets(planted_world, small_training, absent, left):
    dataset = without(planted_world, absent, "valid_at")
    schedule = small_training.schedule.model_copy(update={"epochs": 1})
    config = small_training.model_copy(update={"schedule": schedule})
    with watch_training("base") as watch:
        train_backbone(dataset, config.joint(), watch, keep_best=True)
    curve = watch.curve()
    measured = {c.removeprefix("valid_ndcg_at_10_") for c in curve.columns if c.startswith("valid_")}
    assert measured == left
    assert learning_curves_figure(curve).data


@pytest.mark.parametrize("kind", ["logit_space", "state_space"])
@pytest.mark.parametrize("targets", [0, 4])
def test_with_fewer_targets_than_folds_no_plugin_is_fitted(planted_world, joint_backbone, caplog, kind, targets):
    w = planted_world
    valid_at = np.where(np.arange(w.sequences.n_users) < targets, w.split.valid_at, -1)
    dataset = replace(w.dataset, split=replace(w.split, valid_at=valid_at))
    config = PluginTraining(kind=kind, factors=None)
    scorers = build_scorers(dataset, w.popularity, config)
    own, shared = fit_plugins(joint_backbone, dataset, scorers, config)
    assert set(own.choice) == set(shared.choice) == {"none"}
    assert f"validation targets: {targets}, plugin_training.folds: 5" in caplog.text
    plain = Recommender(joint_backbone, w.strata, w.popularity, w.item_ids)
    history = [w.item_ids[:3].tolist()]
    assert replace(plain, plugins=own).recommend(history, k=5) == plain.recommend(history, k=5)


@pytest.mark.parametrize("absent", ["head", "tail"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_evaluation_without_a_group_measures_the_others_and_names_it(planted_world, joint_backbone, absent):
    w = planted_world
    dataset = without(w, absent, "test_at")
    other = "tail" if absent == "head" else "head"
    models = {"base": PopularityScorer(w.popularity), "pin": BackboneScorer(joint_backbone)}
    ranks = rank_models(models | {f"refit_{name}": model for name, model in models.items()}, dataset)
    newest = {"training": 1, "before_test": 2, "all": 3}
    data = {
        "name": "log",
        "sha256": "0",
        "users": 1,
        "items": 1,
        "events": 1,
        "newest_event": newest,
        "dropped_rows": {},
    }
    evaluation = compare(ranks, dataset) | {
        "as_shipped": compare_as_shipped(ranks, dataset), "protocol": {}, "data": data, "versions": {},
    }  # fmt: skip
    text = "\n".join([*summary_lines(evaluation), *base_gap(evaluation)])
    assert f"no {absent} user has a test target" in text
    assert "nan" not in text
    figures = {"gains": gains_figure(evaluation), "quintiles": quintiles_figure(evaluation)}
    page = render_report(evaluation, figures, CLEANING, {}, {})
    assert f"no {absent} user has a test target" in page
    assert ">nan<" not in page
    card = model_card(evaluation, {}, exclude_seen=True)
    assert f"no {absent} user has a test target" in card
    assert "nan" not in card
    tags = _tags(evaluation, refitted=True)
    assert f"{other}.ndcg_at_10" in tags
    assert f"{absent}.ndcg_at_10" not in tags


@pytest.mark.parametrize("absent", ["head", "tail"])
def test_the_gate_of_a_group_without_targets_reports_it(planted_world, joint_backbone, absent):
    w = planted_world
    dataset = without(w, absent, "test_at")
    popular = PopularityScorer(w.popularity)
    challenge = run_challenge(BackboneScorer(joint_backbone), popular, dataset)
    valid = Gate(name="validation", passed=True, measured="passed", asked="passed")
    gates = {
        gate.name: gate
        for gate in judge(GateInputs(Gates(), challenge, FreshProcessResult(None, 1.0, 1.0), valid, {}, w.strata))
    }
    assert gates[f"{absent} gain"].verdict == "not measured"
    assert gates[f"{absent} gain"].measured.startswith("0 users")
    assert not gates[f"{absent} gain"].passed
    assert gates["tail gain" if absent == "head" else "head gain"].passed


@pytest.mark.parametrize("absent", ["head", "tail"])
def test_a_benchmark_shows_the_groups_that_have_targets(planted_world, joint_backbone, absent):
    w = planted_world
    dataset = without(w, absent, "test_at")
    models = {"base": PopularityScorer(w.popularity), "other": BackboneScorer(joint_backbone)}
    ranks = rank_models(models, dataset).assign(backbone="sasrec", seed=1)
    table = benchmark_table(ranks, dataset, "base")
    assert absent not in set(table["group"])
    assert table["value"].notna().all()
    forest = benchmark_forest_figure(table)
    assert list(forest.layout.yaxis.ticktext) == ["other, sasrec"]
    benchmark_pareto_figure(table)


def test_groups_without_targets_are_named_before_any_training(planted_world, caplog):
    """The users of the head have had their next item before: with `exclude_seen` it is no validation target."""
    head = set(np.flatnonzero(without(planted_world, "head", "valid_at").split.valid_at < 0))
    events = planted_world.events.copy()
    ids = np.unique(events["user_id"])
    for user, own in events.groupby("user_id"):
        if np.searchsorted(ids, user) in head:
            oldest_first = own.sort_values("timestamp", kind="stable")
            events.loc[oldest_first.index[-2], "item_id"] = oldest_first["item_id"].iloc[0]
    build_dataset(events, Splitting(), ExcludeSeen(True), Stratification())
    assert "No user of head, q5 has a validation target" in caplog.text
    assert "test target" not in caplog.text


def test_a_split_without_any_test_target_is_refused():
    early, late = np.arange(0, 10), np.arange(100, 110)  # nobody who was there before comes back
    times = np.concatenate([early, late])
    sequences = Sequences(np.tile(np.arange(1, 6, dtype=np.int32), 4), times, np.arange(0, 21, 5))
    with pytest.raises(InputError, match=r"no test target.*splitting.test_share"):
        split_sequences(
            sequences, Splitting(rule="global_time", valid_share=0.1, test_share=0.49), exclude_seen=ExcludeSeen(True)
        )
