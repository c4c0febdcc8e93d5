"""Every pipeline alone, on a small catalog in memory."""

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from plotly.graph_objects import Figure

from pinet_kedro.activeness import Stratification
from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.manifests import FORMAT, Manifest
from pinet_kedro.interactions.events import Cleaning
from pinet_kedro.interactions.split import ExcludeSeen, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.pipeline_registry import DATA_STAGES, STAGES, register_pipelines
from pinet_kedro.pipelines.benchmark.pipeline import create_pipeline as create_benchmark
from pinet_kedro.pipelines.gradient_noise.pipeline import create_pipeline as create_gradient_noise
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.recommender import NoModel
from pinet_kedro.registry.registration_config import Registration
from pinet_kedro.studies.benchmark.config import Benchmark
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import RunInfo
from pinet_kedro.training.config import BackboneTraining, GradientNoise

PARAMETERS = {
    "exclude_seen": ExcludeSeen(True),
    "cleaning": Cleaning(),
    "splitting": Splitting(),
    "stratification": Stratification(),
    "backbone_training": BackboneTraining.model_validate(
        {
            "threads": 1,
            "backbone": {"name": "sasrec", "width": 8, "blocks": 1, "heads": 1, "max_length": 10},
            "schedule": {"epochs": 2, "batch_users": 32, "validate_every": 1},
            "aggregation": {"rule": "deconfounded"},
        }
    ),
    "plugin_training": PluginTraining(folds=2),
    "registration": Registration(backbone="deconfounded"),
}


class Kept(MemoryDataset):
    """The runner releases what no later node of the same pipeline needs; later stages do need it."""

    def _release(self):
        pass


def run_stages(parameters):
    """Everything that the stages up to the report make, each stage run alone on what the ones before it made."""
    known = {"raw_interactions": generate_interactions(SyntheticLog(users=80, items=40)), "parameters": parameters}
    known["item_metadata"] = pd.DataFrame({"item_id": ["i00001"], "title": ["A title"], "categories": [["one"]]})
    known["ranks_manifest"] = Manifest(
        format=FORMAT, dataset="ranks", content="0", place="ranks", configuration={}, lineage={}
    )
    known["run_info"] = RunInfo("full", "test", "not a git checkout", Tracking())
    known |= {f"params:{name}": value for name, value in parameters.items()}
    for stage in STAGES[:-1]:
        pipeline = register_pipelines()[stage]
        inputs = {name: MemoryDataset(known[name], copy_mode="assign") for name in pipeline.inputs()}
        made = {name: Kept(copy_mode="assign") for name in pipeline.all_outputs()}
        SequentialRunner().run(pipeline, DataCatalog({**inputs, **made}))
        known |= {name: dataset.load() for name, dataset in made.items() if dataset.exists()}
    return known


@pytest.fixture(scope="module")
def outputs():
    return run_stages(PARAMETERS)


def test_without_an_aggregation_the_backbone_is_the_base_and_pin_the_base_with_plugins(outputs):
    joint = PARAMETERS["backbone_training"].model_copy(update={"aggregation": None})
    found = run_stages({**PARAMETERS, "backbone_training": joint})
    assert isinstance(found["deconfounded_model"], NoModel)
    assert isinstance(found["base_plugins_model"], NoModel)
    assert found["pin_model"].backbone is found["base_model"].backbone
    assert len(found["deconfounded_curve"]) == 0
    assert found["evaluation"]["models"].keys() == {"base", "plugins_alone", "base_shared_plugin", "pin"}
    assert "pin_vs_plugins_alone" in found["evaluation"]["comparisons"]
    for group, values in found["evaluation"]["models"]["pin"].items():
        assert values == outputs["evaluation"]["models"]["base_plugins"][group]
    assert found["backbone_choice"].reason == "no_aggregation"
    assert "No aggregation of gradients is configured" in found["report"]


def test_pin_may_stand_on_the_joint_backbone_and_the_aggregation_is_still_measured(outputs):
    found = run_stages({**PARAMETERS, "registration": Registration(backbone="joint")})
    assert found["pin_model"].backbone is found["base_model"].backbone
    assert isinstance(found["base_plugins_model"], NoModel)
    models, expected = found["evaluation"]["models"], outputs["evaluation"]["models"]
    assert models["pin"] == expected["base_plugins"]
    assert models["backbone_plugins"] == expected["pin"]
    assert "backbone_plugins_vs_pin" in found["evaluation"]["comparisons"]
    assert "PIN stands on the joint backbone, as registration.backbone says." in found["report"]


def test_benchmark_draws_a_table_and_two_figures(outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline = create_benchmark()
    known = outputs | {
        "params:benchmark": Benchmark(seeds=(1,), methods={"base": {"aggregation": None}, "ours": {}}, as_shipped=())
    }
    inputs = {name: MemoryDataset(known[name], copy_mode="assign") for name in pipeline.inputs()}
    made = {name: Kept(copy_mode="assign") for name in pipeline.all_outputs()}
    SequentialRunner().run(pipeline, DataCatalog({**inputs, **made}))
    table = made["benchmark_table"].load()
    assert set(table["model"]) == {"base", "base+shared", "base+plugins", "ours", "ours+shared", "ours+plugins"}
    assert table.loc[(table["model"] != "base") & (table["metric"] == "ndcg_at_10"), "gain"].notna().all()
    for figure in ("benchmark_forest_figure", "benchmark_pareto_figure"):
        assert isinstance(made[figure].load(), Figure)
    assert len(list((tmp_path / "data/07_model_output/benchmark").glob("*.parquet"))) == 2


def test_gradient_noise_writes_two_tables_and_a_figure(outputs):
    pipeline = create_gradient_noise()
    known = outputs | {"params:gradient_noise": GradientNoise(blocks=3, rounds=2)}
    inputs = {name: MemoryDataset(known[name], copy_mode="assign") for name in pipeline.inputs()}
    made = {name: Kept(copy_mode="assign") for name in pipeline.all_outputs()}
    SequentialRunner().run(pipeline, DataCatalog({**inputs, **made}))
    table, pairs = made["gradient_noise"].load(), made["gradient_noise_pairs"].load()
    assert table["epoch"].unique().tolist() == pairs["epoch"].unique().tolist() == [1, 2]
    figure = made["gradient_noise_figure"].load()
    assert isinstance(figure, Figure)
    assert len(figure.data) == 3 * (2 + 2)  # parts, each with two checkpoints and two numbers of users


@pytest.mark.parametrize("study", ["benchmark", "gradient_noise", "tuning"])
def test_study_prepares_its_data(study):
    nodes = {n.name for n in register_pipelines()[study].nodes}
    assert {n.name for s in DATA_STAGES for n in register_pipelines()[s].nodes} < nodes


def test_full_is_the_sum_of_the_stages():
    pipelines = register_pipelines()
    assert {n.name for n in pipelines["full"].nodes} == {n.name for s in STAGES for n in pipelines[s].nodes}
    assert pipelines["__default__"].describe() == pipelines["full"].describe()


def test_validation_reports_every_rule(outputs):
    assert outputs["cleaning_report"]["rule"].tolist() == ["exact duplicates", "k-core"]
    assert (
        len(outputs["clean_events"].events)
        == len(outputs["raw_interactions"]) - outputs["cleaning_report"]["rows"].sum()
    )


def test_stratification_assigns_every_user(outputs):
    assert isinstance(outputs["dataset"], Dataset)
    assert len(outputs["users"]) == outputs["dataset"].n_users
    assert set(outputs["users"]["group"]) == {"head", "tail"}


def test_stratification_describes_every_item_in_the_order_of_the_dataset(outputs):
    assert outputs["items"]["item_id"].tolist() == outputs["dataset"].items["item_id"].tolist()
    assert outputs["items"].set_index("item_id")["title"].dropna().to_dict() == {"i00001": "A title"}


def test_training_gives_two_models_and_their_curves(outputs):
    for name in ("base", "deconfounded"):
        assert outputs[f"{name}_model"].plugins is None
        assert len(outputs[f"{name}_curve"]) == 2


def test_plugins_leave_the_backbone_as_it_was(outputs):
    pin, deconfounded = outputs["pin_model"], outputs["deconfounded_model"]
    assert pin.backbone is deconfounded.backbone
    assert isinstance(outputs["deconfounded_plugins_model"], NoModel)
    assert len(pin.plugins.choice) == len(outputs["dataset"].strata.training)


def test_evaluation_draws_every_figure_and_writes_the_report(outputs):
    figures = [value for name, value in outputs.items() if name.endswith("_figure")]
    assert len(figures) == 6
    assert all(isinstance(figure, Figure) for figure in figures)
    assert outputs["report"].startswith("<!DOCTYPE html>") or outputs["report"].startswith("<!doctype html>")
