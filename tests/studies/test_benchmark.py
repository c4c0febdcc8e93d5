import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml

from pinet_kedro.activeness import ReportingStrata, Stratification, fit_strata
from pinet_kedro.dataset import build_dataset
from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.beyond_accuracy import item_facts
from pinet_kedro.evaluation.ranks import TOP, rank_models
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Split, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.popularity import count_popularity
from pinet_kedro.reporting.text import METRIC_LABELS
from pinet_kedro.studies.benchmark import bench
from pinet_kedro.studies.benchmark.bench import Bench, cells, check_names
from pinet_kedro.studies.benchmark.config import Benchmark, Metric
from pinet_kedro.studies.benchmark.table import benchmark_table
from pinet_kedro.studies.transfer.transfer import transfer
from pinet_kedro.training.config import BackboneTraining
from prepared import as_dataset

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("spawned_by_a_server")]  # trains cells

TRAINING = BackboneTraining.model_validate(
    {
        "backbone": {"name": "sasrec", "width": 8, "blocks": 1, "heads": 1, "max_length": 8},
        "schedule": {"epochs": 1, "batch_users": 32},
    }
)
STRATA = ReportingStrata.model_validate(
    {
        name: {"thresholds": thresholds}
        for name, thresholds in (("training", [5, 9]), ("head_tail", [9]), ("quintiles", [5]))
    }
)


def log_of(events):
    """The dataset of a user with so many events."""
    times = np.arange(events)
    one = np.array([events - 2])
    return as_dataset(
        Sequences(times.astype(np.int32) + 1, times, np.array([0, events])),
        Split(one, one, one + 1, one + 1),
        events,
        STRATA,
    )


DATA, OTHER = log_of(6), log_of(7)
METHODS = {"base": {"aggregation": None}, "backbone": {"aggregation": {"rule": "deconfounded"}}}
TRANSFER = {
    "separate": {"aggregation": None, "transfer": {"kind": "separate"}},
    "fine_tuned": {"aggregation": None, "transfer": {"kind": "fine_tuning", "epochs": 1}},
    "user_branch": {"aggregation": None, "transfer": {"kind": "user_branch", "epochs": 1}},
}


def run(folder, prepared, config, plugins=PluginTraining(folds=2)):  # noqa: B008
    todo = cells(config, TRAINING, plugins)
    return Bench(prepared, folder).run(todo, config.workers)


@pytest.fixture(scope="module")
def prepared():
    events, _ = clean_events(generate_interactions(SyntheticLog(users=60, items=30)), Cleaning())
    return build_dataset(events, Splitting(), ExcludeSeen(False), Stratification())[0]


def test_a_finished_cell_is_read_and_not_trained_again(tmp_path, prepared):
    first = run(tmp_path, prepared, Benchmark(seeds=(1,), methods=METHODS, as_shipped=()))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert len(list(tmp_path.glob("*.parquet"))) == len(list(tmp_path.glob("models/*"))) == 2
    both = run(tmp_path, prepared, Benchmark(seeds=(1, 2), methods=METHODS, as_shipped=()))
    files = [path for path in written if path.is_file()]
    assert {path: path.stat().st_mtime_ns for path in files} == {path: written[path] for path in files}
    assert len(list(tmp_path.glob("*.parquet"))) == 4
    pd.testing.assert_frame_equal(both[both["seed"] == 1].reset_index(drop=True), first)


def test_cells_of_other_code_are_named_and_computed_anew(tmp_path, prepared, monkeypatch, caplog):
    config = Benchmark(seeds=(1,), methods={"base": METHODS["base"]}, as_shipped=())
    run(tmp_path, prepared, config)
    (cell,) = tmp_path.glob("*.parquet")
    cell.rename(cell.with_name(f"{cell.stem.partition('-')[0]}.parquet"))  # as it was called before code counted
    monkeypatch.setattr(bench, "method_version", lambda *_: "other")
    with caplog.at_level("WARNING", logger="pinet_kedro"):
        run(tmp_path, prepared, config)
    assert "1 of these cells are in" in caplog.text
    assert "(unknown; now other)" in caplog.text
    assert len(list(tmp_path.glob("*.parquet"))) == len(list(tmp_path.glob("models/*"))) == 2


def test_every_method_comes_alone_and_with_both_kinds_of_plugins(tmp_path, prepared):
    ranks = run(tmp_path, prepared, Benchmark(seeds=(1,), methods=METHODS, as_shipped=()))
    assert ranks["model"].unique().tolist() == [
        "base", "base+shared", "base+plugins", "backbone", "backbone+shared", "backbone+plugins",
    ]  # fmt: skip


def test_a_method_that_ships_is_also_ranked_after_a_refit_which_is_stored(tmp_path, prepared):
    config = Benchmark(seeds=(1,), methods=METHODS, as_shipped=("base",))
    ranks = run(tmp_path, prepared, config)
    refit = ranks[ranks["model"].str.endswith("+refit")]
    assert refit["model"].unique().tolist() == ["base+refit", "base+plugins+refit"]
    assert not refit["rank"].equals(ranks.loc[ranks["model"].isin(["base", "base+plugins"]), "rank"])
    models = sorted(path.name for path in tmp_path.glob("models/*"))
    assert len(models) == 3
    assert sum(name.endswith("-refit") for name in models) == 1
    for cell in tmp_path.glob("*.parquet"):
        cell.unlink()
    pd.testing.assert_frame_equal(run(tmp_path, prepared, config), ranks)
    assert sorted(path.name for path in tmp_path.glob("models/*")) == models


def test_after_a_refit_a_model_is_compared_with_the_refit_reference(prepared):
    values = {"base": 3, "base+refit": 2, "base+plugins+refit": 1}
    ranks = pd.concat(
        pd.DataFrame({"model": model, "user": range(20), "rank": rank, "candidates": 30, "backbone": "b", "seed": 1})
        for model, rank in values.items()
    )
    table = benchmark_table(ranks, prepared, "base").query("group == 'all'").set_index("model")
    assert table.loc["base+plugins+refit", "gain"] == pytest.approx(np.log2(3) - 1)
    assert np.isnan(table.loc["base+refit", "gain"])


def test_threads_and_device_do_not_make_another_cell():
    (one,) = cells(Benchmark(seeds=(1,)), TRAINING, PluginTraining())
    (other,) = cells(Benchmark(seeds=(1,)), TRAINING.model_copy(update={"threads": 7}), PluginTraining())
    (longer,) = cells(Benchmark(seeds=(2,)), TRAINING, PluginTraining())
    assert one.name(DATA) == other.name(DATA)
    assert len({one.name(DATA), one.name(OTHER), longer.name(DATA)}) == 3


def test_other_strata_are_another_cell_and_another_model_unless_it_is_trained_jointly():
    joint, aggregated = cells(Benchmark(seeds=(1,), methods=METHODS, as_shipped=()), TRAINING, PluginTraining())
    two = replace(DATA, strata=STRATA.model_copy(update={"training": STRATA.head_tail}))
    assert joint.name(DATA) != joint.name(two)
    assert joint.model_name(DATA) == joint.model_name(two)
    assert aggregated.model_name(DATA) != aggregated.model_name(two)


def test_users_are_routed_by_the_strata_of_the_benchmark_whatever_those_were_when_the_model_was_stored(
    tmp_path, prepared
):
    config = Benchmark(seeds=(1,), methods={"base": METHODS["base"]})
    two = replace(prepared, strata=fit_strata(prepared.split.train_end, Stratification(strata=2)))
    run(tmp_path / "1", two, config)
    shutil.copytree(tmp_path / "1" / "models", tmp_path / "2" / "models")
    again, alone = run(tmp_path / "2", prepared, config), run(tmp_path / "3", prepared, config)
    pd.testing.assert_frame_equal(again, alone)


def test_strata_of_a_method_are_those_that_its_gradients_are_aggregated_over(tmp_path, prepared):
    two = {"aggregation": {"rule": "deconfounded"}, "stratification": {"strata": 2}}
    config = Benchmark(seeds=(1,), methods={"five": METHODS["backbone"], "two": two})
    ranks = run(tmp_path, prepared, config)
    assert set(ranks["model"]) == {f"{m}{p}" for m in ("five", "two") for p in ("", "+shared", "+plugins")}
    curves = [pd.read_parquet(path) for path in sorted(tmp_path.glob("curves/*"))]
    weighed = sorted(sum(name.startswith("weight_stratum_") for name in curve.columns) for curve in curves)
    assert weighed == [2, 5]


def test_other_plugins_are_another_cell_of_the_same_trained_model(tmp_path, prepared):
    config = Benchmark(seeds=(1,), methods=METHODS, as_shipped=())
    run(tmp_path, prepared, config)
    run(tmp_path, prepared, config, PluginTraining(folds=3))
    assert len(list(tmp_path.glob("*.parquet"))) == 4
    assert len(list(tmp_path.glob("models/*"))) == 2


def test_another_first_variant_of_plugins_is_another_cell():
    """It is the one that is shared by all strata, and that a refit has."""
    variants = {"a": {"ridge": 1.0}, "b": {"ridge": 2.0}}
    turned = dict(reversed(variants.items()))
    (one,), (other,) = (
        cells(Benchmark(seeds=(1,), plugins=plugins), TRAINING, PluginTraining()) for plugins in (variants, turned)
    )
    assert one.name(DATA) != other.name(DATA)
    assert one.model_name(DATA) == other.model_name(DATA)


def test_strata_of_a_method_are_also_those_of_its_transfer(tmp_path, prepared):
    """Users are routed by head and tail of the benchmark all the same."""
    two = {**METHODS["backbone"], "stratification": {"strata": 2, "head_share": 0.5}, "transfer": {"kind": "separate"}}
    (cell,) = cells(Benchmark(seeds=(1,), methods={"base": two}, as_shipped=()), TRAINING, PluginTraining())
    own = fit_strata(prepared.split.train_end, cell.stratification).training
    strata = prepared.strata.model_copy(update={"training": own})
    alone = transfer(cell.transfer, lambda: None, replace(prepared, strata=strata), cell.training)
    expected = rank_models({"base": alone}, prepared)
    pd.testing.assert_frame_equal(Bench(prepared, tmp_path).run([cell])[expected.columns], expected)


def test_each_variant_of_plugins_has_its_own_scorers(tmp_path, prepared):
    """Whatever another variant has built before."""
    named = replace(prepared, items=prepared.items.assign(categories=[["a"], ["b"]] * (prepared.n_items // 2)))
    popularity = count_popularity(named)
    both = Bench(named, tmp_path)
    for plugins in (PluginTraining(folds=2), PluginTraining(folds=2, scorers={"categories": {}}),
                    PluginTraining(folds=2, hard_candidates=3, random_candidates=3)):  # fmt: skip
        again, alone = (bench._build_scorers(popularity, plugins) for bench in (both, Bench(named, tmp_path)))
        assert again.configuration() == alone.configuration()
    joint = PluginTraining(folds=2, kind="state_space", ridge=1.0)
    assert both._build_scorers(popularity, joint) is both._build_scorers(popularity, PluginTraining(folds=2))


def test_validation_ranks_with_and_without_plugins_are_two_results(tmp_path, prepared):
    """A study that tunes plugins may follow one that did not, in the same folder."""
    (cell,) = cells(Benchmark(seeds=(1,), as_shipped=()), TRAINING, PluginTraining(folds=2))
    bench = Bench(prepared, tmp_path)
    bench.run([cell])
    alone, with_plugins = (bench.validation_ranks(cell, variant)["rank"] for variant in (None, "plugins"))
    assert not alone.equals(with_plugins)
    assert bench.validation_ranks(cell)["rank"].equals(alone)
    assert bench.validation_ranks(cell, "plugins")["rank"].equals(with_plugins)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"plugins": {"shared": {}}}, "'shared' must not be shared or refit"),
        ({"ablations": {"refit": {}}}, "'refit' must not be shared or refit"),
        ({"plugins": {"a+b": {}}}, "nor contain '\\+'"),
        ({"plugins": {"p": {"ridge": 1.0}}, "ablations": {"p": {"ridge": 99.0}}}, "'p' is among plugins and ablations"),
    ],
)
def test_two_models_of_a_method_cannot_have_one_name(sections, words):
    with pytest.raises(ValueError, match=words):
        Benchmark.model_validate(sections)
    assert Benchmark.model_validate({"plugins": {"p": {}}, "ablations": {"p": None}})  # as an environment leaves it out


def test_backbones_of_one_name_are_refused_and_are_told_apart_as_methods(tmp_path, prepared):
    """As backbones, the table would show their mean."""
    narrow, wide = ({**TRAINING.backbone.model_dump(), "width": width} for width in (4, 16))
    with pytest.raises(ValueError, match="backbones must have different names"):
        Benchmark.model_validate({"backbones": [narrow, wide]})
    methods = {name: {"aggregation": None, "backbone": of} for name, of in (("base", narrow), ("wide", wide))}
    ranks = run(tmp_path, prepared, Benchmark.model_validate({"seeds": [1], "methods": methods, "as_shipped": []}))
    table = benchmark_table(ranks, prepared, "base").query("group == 'all'").set_index("model")
    assert table.loc["base", "value"] != table.loc["wide", "value"]


def test_worker_processes_give_the_table_of_one_process(tmp_path, prepared):
    config = Benchmark(seeds=(1, 2), methods=METHODS, as_shipped=())
    alone = run(tmp_path / "1", prepared, config)
    together = run(tmp_path / "2", prepared, config.model_copy(update={"workers": 2}))
    pd.testing.assert_frame_equal(alone, together)


def test_a_signal_ends_the_workers_in_the_middle_of_a_training(tmp_path, prepared):
    def stop(*_):
        raise KeyboardInterrupt

    def when_a_cell_is_done():  # its worker is at the next one then
        while not list(tmp_path.glob("*.parquet")):
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGALRM)

    joint = {"aggregation": None, "schedule": {"epochs": 20_000, "validate_every": 20_000}}  # minutes
    methods = {"base": {"aggregation": None}, **dict.fromkeys(("long", "longer"), joint)}
    config = Benchmark.model_validate({"seeds": [1], "methods": methods, "workers": 2, "as_shipped": []})
    before = signal.signal(signal.SIGALRM, stop)
    try:
        Thread(target=when_a_cell_is_done, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, prepared, config)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()
    assert len(list(tmp_path.glob("models/*"))) == 1


def test_every_method_runs_on_every_backbone():
    small = [{"name": name, "width": 8, "max_length": 8} for name in ("gru4rec", "din")]
    methods = {**METHODS, "left out": None}
    config = Benchmark.model_validate({"seeds": [1], "methods": methods, "backbones": small})
    todo = cells(config, TRAINING, PluginTraining())
    told = [(cell.training.backbone.name, cell.method, cell.training.backbone.width) for cell in todo]
    assert told == [(name, method, 8) for name in ("gru4rec", "din") for method in METHODS]


def test_transfer_starts_from_the_stored_base_and_comes_without_plugins(tmp_path, prepared):
    run(tmp_path, prepared, Benchmark(seeds=(1,), methods=METHODS, as_shipped=()))
    models = {path: path.stat().st_mtime_ns for path in tmp_path.glob("models/*")}
    ranks = run(tmp_path, prepared, Benchmark(seeds=(1,), methods=TRANSFER))
    assert ranks["model"].unique().tolist() == ranks["method"].unique().tolist() == list(TRANSFER)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("models/*")} == models


def test_separate_training_needs_no_base(tmp_path, prepared):
    run(tmp_path, prepared, Benchmark(seeds=(1,), methods={"separate": TRANSFER["separate"]}))
    assert not list(tmp_path.glob("models/*"))


def test_workers_train_the_base_of_several_methods_once(tmp_path, prepared):
    methods = {name: TRANSFER[name] for name in ("fine_tuned", "user_branch")}
    config = Benchmark(seeds=(1,), methods=methods, workers=2)
    alone = run(tmp_path / "1", prepared, config.model_copy(update={"workers": 1}))
    pd.testing.assert_frame_equal(run(tmp_path / "2", prepared, config), alone)
    assert len(list(tmp_path.glob("2/models/*"))) == 1


def names_of(**sections):
    method = {"aggregation": None, **sections}
    (cell,) = cells(Benchmark(seeds=(1,), methods={"m": method}), TRAINING, PluginTraining())
    return cell.model_name(DATA), cell.name(DATA)


def test_transfer_makes_another_cell_of_the_same_model():
    model, base = names_of(transfer=None)
    assert names_of() == (model, base)
    tuned = [names_of(transfer={"kind": "fine_tuning", "epochs": epochs}) for epochs in (1, 2)]
    assert [name for name, _ in tuned] == [model, model]
    assert len({base, *(name for _, name in tuned), names_of(transfer={"kind": "user_branch"})[1]}) == 4
    assert names_of(transfer={"kind": "separate"})[0] != model


@pytest.mark.parametrize(
    ("place", "changed"), [("studies/transfer", [False, True]), ("bench.py", [True, True]), ("asking.py", [True, True])]
)
def test_other_code_that_ranks_makes_another_cell_of_the_same_model(place, changed, monkeypatch):
    names = [names_of(transfer=transfer) for transfer in (None, {"kind": "user_branch"})]
    version = bench.method_version
    monkeypatch.setattr(bench, "method_version", lambda *code: version(*code) + "x" * (place in " ".join(code)))
    again = [names_of(transfer=transfer) for transfer in (None, {"kind": "user_branch"})]
    assert [mine[1] != theirs[1] for mine, theirs in zip(again, names, strict=True)] == changed
    assert [mine[0] for mine in again] == [theirs[0] for theirs in names]


def test_other_code_that_trains_makes_another_model(monkeypatch):
    names, version = names_of(), bench.method_version
    monkeypatch.setattr(bench, "method_version", lambda *code: version(*code) + "x" * ("trained.py" in " ".join(code)))
    assert all(mine != theirs for mine, theirs in zip(names_of(), names, strict=True))


def test_a_method_that_ships_must_be_one_that_has_a_refit():
    methods = {"base": {"aggregation": None}, "tuned": {"aggregation": None, "transfer": {"kind": "fine_tuning"}}}
    gone = {"deconfounded": None}  # an environment has removed it
    check_names(Benchmark(methods=methods | gone, as_shipped=("base", "deconfounded")))
    with pytest.raises(InputError, match="'bse' is none of"):
        check_names(Benchmark(methods=methods, as_shipped=("bse",)))
    with pytest.raises(InputError, match="'tuned' has `transfer`"):
        check_names(Benchmark(methods=methods, as_shipped=("tuned",)))


def test_every_shipped_method_can_be_built():
    shipped = Path(__file__).parents[2] / "conf" / "base" / "parameters_benchmark.yml"
    told = {**yaml.safe_load(shipped.read_text(encoding="utf-8"))["benchmark"], "seeds": [1]}
    built = cells(Benchmark.model_validate(told), BackboneTraining(), PluginTraining())
    assert [cell.method for cell in built] == list(told["methods"])
    assert len({cell.name(DATA) for cell in built}) == len(built)


def test_a_section_replaces_the_whole_section_and_the_schedule_only_what_it_names():
    methods = {"x": {"aggregation": {"rule": "deconfounded", "strength": 0.7}, "schedule": {"epochs": 9}}}
    (cell,) = cells(Benchmark(seeds=(1,), methods=methods), TRAINING, PluginTraining())
    assert cell.training.aggregation.strength == 0.7
    assert (cell.training.schedule.epochs, cell.training.schedule.batch_users) == (9, 32)
    assert not cell.joint


def test_table_compares_with_the_reference_and_with_the_reference_under_the_same_plugins(prepared):
    users = np.arange(prepared.n_users)
    better = {"base": 4.0, "base+plugins": 3.0, "m": 3.0, "m+plugins": 1.0}
    ranks = pd.concat(
        [
            pd.DataFrame({"model": model, "user": users, "rank": rank, "candidates": 30, "backbone": "b", "seed": seed})
            for model, rank in better.items()
            for seed in (1, 2)
        ]
    )
    metrics = ("ndcg_at_10", "mrr")
    tables = benchmark_table(ranks, prepared, "base", metrics).set_index(["metric", "model", "group"])
    assert tables.loc[("mrr", "m+plugins", "tail"), "gain"] == pytest.approx(3.0)
    assert tables.loc[("mrr", "m", "head"), "value"] == pytest.approx(1 / 3)
    table = tables.loc["ndcg_at_10"]
    ndcg = {model: 1 / np.log2(rank + 1) for model, rank in better.items()}
    row = table.loc[("m+plugins", "tail")]
    assert row["gain"] == pytest.approx(ndcg["m+plugins"] / ndcg["base"] - 1)
    assert row["same_plugins_gain"] == pytest.approx(ndcg["m+plugins"] / ndcg["base+plugins"] - 1)
    assert row["low"] == pytest.approx(row["gain"])
    assert np.isnan(table.loc[("base", "all"), "gain"])
    assert row["seeds"] == 2
    assert row["seed_deviation"] == pytest.approx(0)


def test_table_has_every_metric_and_no_interval_for_the_catalogue(prepared):
    """Two seeds of two methods, whose lists are the five first or all items in turn."""
    users = prepared.test_users
    turns = np.arange(10 * len(users)).reshape(len(users), 10) % prepared.n_items + 1
    few = np.tile([1, 2, 3, 4, 5, 0, 0, 0, 0, 0], (len(users), 1))
    ranks = pd.concat(
        pd.DataFrame({"model": model, "user": users, "rank": rank, "candidates": 30, "backbone": "b", "seed": seed})
        .assign(**dict(zip(TOP, lists.T.astype(np.int32), strict=True)))
        .sample(frac=1, random_state=seed)
        for model, rank, lists in (("base", 4.0, few), ("m", 2.0, turns))
        for seed in (1, 2)
    )
    metrics = Benchmark().metrics
    table = benchmark_table(ranks, prepared, "base", metrics)
    absent = {"category_diversity_at_10", "ndcg_at_10_cold_items", "hr_at_10_cold_items"}  # of these items and targets
    assert table["metric"].unique().tolist() == [metric for metric in metrics if metric not in absent]
    assert table.duplicated(["metric", "backbone", "model", "group"]).sum() == 0
    rows = table[table["group"] == "all"].set_index(["metric", "model"])
    assert rows.loc[("coverage_at_10", "base"), "value"] == pytest.approx(5 / prepared.n_items)
    assert rows.loc[("coverage_at_10", "m"), "value"] == 1
    assert rows.loc[("coverage_at_10", "m"), "gain"] == pytest.approx(prepared.n_items / 5 - 1)
    assert np.isnan(rows.loc[("coverage_at_10", "m"), ["low", "high"]].astype(float)).all()
    assert rows.loc[("gini_at_10", "m"), "value"] < rows.loc[("gini_at_10", "base"), "value"]
    events = item_facts(prepared).events
    assert rows.loc[("popularity_at_10", "base"), "value"] == pytest.approx(events[:5].mean())
    assert rows.loc[("popularity_at_10", "m"), ["low", "high"]].notna().all()
    ndcg = 1 / np.log2([5, 3])
    kinds = [rows.loc[(f"ndcg_at_10_{kind}_items", "m")] for kind in ("popular", "long_tail")]
    assert [row["value"] for row in kinds] == pytest.approx([ndcg[1]] * 2)
    assert [row["gain"] for row in kinds] == pytest.approx([ndcg[1] / ndcg[0] - 1] * 2)
    assert sum(row["users"] for row in kinds) == len(users)  # a target is of one kind
    named = replace(prepared, items=prepared.items.assign(categories=[["a"], ["b"]] * (prepared.n_items // 2)))
    rows = benchmark_table(ranks, named, "base", ("category_diversity_at_10",)).set_index(["model", "group"])
    assert rows.loc[("base", "all"), "value"] == pytest.approx(6 / 10)  # of the ten pairs of five items in turn
    assert rows.loc[("m", "all"), "value"] == pytest.approx(25 / 45)
    assert rows.loc[("m", "all"), ["low", "high"]].notna().all()


def test_diversity_is_compared_on_the_users_for_whom_all_models_have_it(prepared):
    """A list with fewer than two items that have categories has none."""
    lists = [["a"], ["b"], None] * (prepared.n_items // 3)
    named = replace(prepared, items=prepared.items.assign(categories=lists))
    users = prepared.test_users
    known = np.tile([1, 2, 4, 5, 7, 8, 10, 11, 13, 14], (len(users), 1))
    unknown = known.copy()
    unknown[0] = np.arange(3, 33, 3)
    ranks = pd.concat(
        pd.DataFrame(
            {"model": model, "user": users, "rank": 1.0, "candidates": 30, "backbone": "b", "seed": seed}
        ).assign(**dict(zip(TOP, top.T.astype(np.int32), strict=True)))
        for model, seed, top in (("base", 1, known), ("base", 2, unknown), ("m", 1, unknown), ("m", 2, known))
    )
    table = benchmark_table(ranks, named, "base", ("category_diversity_at_10",))
    rows = table[table["group"] == "all"].set_index("model")
    assert rows["users"].tolist() == [len(users) - 1] * 2
    assert rows.loc["m", ["gain", "low", "high"]].tolist() == [0, 0, 0]


def test_ranks_of_an_earlier_version_have_no_place_in_the_table(prepared):
    ranks = pd.DataFrame(
        {"model": "base", "user": prepared.test_users, "rank": 1.0, "candidates": 30, "backbone": "b", "seed": 1}
    )
    assert len(benchmark_table(ranks, prepared, "base"))
    for metric in ("coverage_at_10", "novelty_at_10"):
        with pytest.raises(InputError, match="no lists of first items"):
            benchmark_table(ranks, prepared, "base", (metric,))


def test_every_metric_has_a_label():
    assert set(get_args(Metric)) == set(METRIC_LABELS)


def test_the_figures_show_a_metric_that_has_intervals():
    with pytest.raises(ValueError, match="metrics must not begin with gini_at_10"):
        Benchmark(metrics=("gini_at_10", "ndcg_at_10"))
