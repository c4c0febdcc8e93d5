import json
import re
import sqlite3
import subprocess
import sys

import mlflow
import pandas as pd

GROUPS = ["all", "head", "tail", "q1", "q2", "q3", "q4", "q5"]
MODELS = ["base", "backbone", "plugins_alone", "base_shared_plugin", "base_plugins", "pin"]
ACCURACY = [f"{name}_at_{k}" for name in ("ndcg", "hr", "mrr") for k in (5, 10, 20)] + ["mrr", "auc"]
ON_ITEMS = [f"{name}_at_10_{items}_items" for items in ("popular", "long_tail", "cold") for name in ("ndcg", "hr")]
LISTS = [
    "coverage_at_10", "gini_at_10", "novelty_at_10", "popularity_at_10", "long_tail_share_at_10",
    "category_diversity_at_10",
]  # fmt: skip
BEYOND = [*LISTS, *ON_ITEMS]
TARGETS = [f"targets_{items}_items" for items in ("popular", "long_tail", "cold")]


def evaluation_of(project):
    return json.loads((project.folder / "data/08_reporting/evaluation.json").read_text())


def test_evaluation_has_the_agreed_outline(finished):
    evaluation = evaluation_of(finished)
    assert list(evaluation) == [
        "models", "comparisons", "as_shipped", "backbone_choice", "plugins", "protocol", "data", "versions", "lineage",
    ]  # fmt: skip
    assert list(evaluation["models"]) == MODELS
    for groups in evaluation["models"].values():
        assert list(groups) == GROUPS
        for group, values in groups.items():
            assert list(values) == ["users", *ACCURACY, *([*BEYOND, *TARGETS] if group in GROUPS[:3] else [])]
    for model in MODELS[1:]:
        gains = evaluation["comparisons"][f"{model}_vs_base"]
        assert list(gains) == ["all", "head", "tail"]
        for gain in gains.values():
            assert list(gain["ndcg_at_10"]) == ["relative", "low", "high"]
            assert list(gain)[1:] == (BEYOND if model in ("pin", "backbone") else [])


def test_head_and_tail_are_all_users_and_quintiles_too(finished):
    groups = evaluation_of(finished)["models"]["pin"]
    users = {name: values["users"] for name, values in groups.items()}
    assert users["head"] + users["tail"] == users["all"]
    assert sum(users[f"q{i}"] for i in range(1, 6)) == users["all"]


def test_relative_gain_is_that_of_the_table(finished):
    evaluation = evaluation_of(finished)
    base, pin = (evaluation["models"][name]["tail"]["ndcg_at_10"] for name in ("base", "pin"))
    gain = evaluation["comparisons"]["pin_vs_base"]["tail"]["ndcg_at_10"]
    assert abs(gain["relative"] - (pin / base - 1)) < 1e-12
    assert gain["low"] <= gain["relative"] <= gain["high"]


def test_a_second_run_gives_the_same_evaluation_to_the_byte_and_no_second_version_and_says_so(own_copy, caplog):
    path = own_copy.folder / "data/08_reporting/evaluation.json"
    before = path.read_bytes()
    with caplog.at_level("INFO", logger="pinet_kedro"):
        result = own_copy.run("--pipeline=full", "--env=test")
    assert result.exit_code == 0, result.output
    assert path.read_bytes() == before
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "PIN, tail users: " in said
    assert str(own_copy.folder / "data/08_reporting/report.html") in said
    assert "Registered before: pinet version 1 has the same weights, data and code; it is the 'challenger'" in said
    client = mlflow.MlflowClient(f"sqlite:///{own_copy.folder / 'mlflow.db'}")
    assert [str(version.version) for version in client.search_model_versions("name = 'pinet'")] == ["1"]
    newest = client.search_runs(["1"], order_by=["start_time DESC"])[0]
    assert newest.data.tags["same_as"] == "pinet version 1"


def test_all_pages_are_listed_on_the_start_page_and_link_to_it(finished):
    start = finished.folder / "data/08_reporting/index.html"
    listed = [start.parent / link for link in re.findall('href="([^"]+)"', start.read_text("utf-8"))]
    assert {path.parent.name for path in listed} >= {"08_reporting", "data_docs"}
    for page in (*listed, start.parent / "data_docs/raw_events/index.html"):
        home = re.search('<nav><a href="([^"]+)">', page.read_text("utf-8"))[1]
        assert (page.parent / home).resolve() == start.resolve()


def test_report_holds_the_figures_and_fetches_nothing(finished):
    page = (finished.folder / "data/08_reporting/report.html").read_text()
    evaluation = evaluation_of(finished)
    assert f"{evaluation['models']['base']['tail']['ndcg_at_10']:.4f}" in page
    assert "<script src=" not in page
    assert "<link rel=" not in page


def test_curves_hold_every_epoch_and_the_weights_of_the_strata(finished):
    curve = pd.read_parquet(finished.folder / "data/06_models/deconfounded_curve.parquet")
    assert curve["epoch"].tolist() == [1, 2, 3]
    weights = curve.filter(like="weight_stratum_")
    assert (weights.sum(axis=1) - 1).abs().max() < 1e-5


def test_nothing_that_was_written_is_a_pickle(finished):
    suffixes = {path.rpartition(".")[2] for path in finished.files()}
    assert not suffixes & {"pkl", "pickle", "pt", "pth", "bin", "joblib"}


def test_the_run_is_tracked_with_parameters_metrics_and_artifacts(finished):
    client = mlflow.MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pinet")
    first = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])[0]
    assert first.info.status == "FINISHED"
    assert first.data.params["backbone_training.schedule.epochs"] == "3"
    evaluation = evaluation_of(finished)
    assert first.info.run_name == "full · sasrec · seed 1"
    assert first.data.metrics["ndcg_at_10/tail/pin"] == evaluation["models"]["pin"]["tail"]["ndcg_at_10"]
    assert first.data.tags["data.sha256"] == evaluation["data"]["sha256"]
    assert "git" in first.data.tags
    assert [m.step for m in client.get_metric_history(first.info.run_id, "training/base/loss")] == [1, 2, 3]
    names = {artifact.path for artifact in client.list_artifacts(first.info.run_id)}
    assert {"report.html", "evaluation.json", "model_card.md"} <= names
    assert "figures" not in names  # they are in the report
    curves = {key for key in first.data.metrics if len(client.get_metric_history(first.info.run_id, key)) > 1}
    assert curves
    assert all(key.startswith("training/") for key in curves)
    assert {each.dataset.digest for each in first.inputs.dataset_inputs} == {evaluation["data"]["sha256"][:12]}
    assert {each.tags[0].value for each in first.inputs.dataset_inputs} == {"training", "test"}
    report = mlflow.artifacts.load_text(f"{first.info.artifact_uri}/report.html")
    assert "figure-long_tail" in report
    assert "<script src" not in report
    assert "All pages" not in report  # there are none beside it but the Data Docs, which it links to
    docs = mlflow.artifacts.load_text(f"{first.info.artifact_uri}/data_docs/clean_events/index.html")
    assert "All pages" not in docs
    assert (finished.folder / "data/08_reporting/report.html").stat().st_size < 2_000_000


def test_the_logged_model_has_the_parameters_and_metrics_of_its_run(finished):
    client = mlflow.MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    version = client.get_model_version("pinet", "1")
    run = client.get_run(version.run_id)
    [logged] = run.outputs.model_outputs
    model = client.get_logged_model(logged.model_id)
    assert version.source == f"models:/{model.model_id}"
    assert model.source_run_id == version.run_id
    assert model.status == "READY"
    assert model.params == run.data.params
    tested = {name: value for name, value in run.data.metrics.items() if name.endswith("/pin") or "gain_over" in name}
    assert {metric.key: metric.value for metric in model.metrics} == tested
    assert version.description == mlflow.artifacts.load_text(f"runs:/{version.run_id}/model_card.md")
    assert f"{evaluation_of(finished)['models']['pin']['tail']['ndcg_at_10']:.4f}" in version.description
    assert "champion" in client.get_registered_model("pinet").description


def test_the_registered_challenger_answers_raw_ids_in_a_fresh_process(finished, tmp_path):
    """In an empty folder, with the project's package out of reach but for what the version itself carries."""
    items = pd.read_parquet(finished.folder / "data/05_model_input/dataset/items.parquet")["item_id"]
    history = items.iloc[:4].tolist()
    script = f"""
import sys
sys.path = [p for p in sys.path if not p.endswith("/src")]
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__ + getattr(f, "__name__", "")]
import json, mlflow, pandas as pd
mlflow.set_tracking_uri("sqlite:///{finished.folder / "mlflow.db"}")
model = mlflow.pyfunc.load_model("models:/pinet@challenger")
answer = model.predict([{{"history": {history!r}}}, {{"history": []}}], params={{"k": 5}})
assert answer == model.predict(pd.DataFrame({{"history": [{history!r}, []]}}), params={{"k": 5}})
newest = mlflow.MlflowClient().get_model_version_by_alias("pinet", "challenger").version
assert [row["model_version"] for row in answer] == [str(newest)] * 2
import pinet_kedro
print(json.dumps([[row["items"] for row in answer], [row["stratum"] for row in answer], pinet_kedro.__file__]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    recommended, strata, package = json.loads(done.stdout.splitlines()[-1])
    assert [len(row) for row in recommended] == [5, 5]
    assert not set(recommended[0]) & set(history)
    assert set(recommended[0]) <= set(items)
    assert strata[1] == "tail"
    assert str(finished.folder / "mlartifacts") in package or "/code/" in package


def test_a_failed_run_is_tracked_as_failed(project):
    result = project.run("--pipeline=full", "--env=test", "--params=cleaning.min_user_events=5000")
    assert result.exit_code == 1
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FAILED",)]
