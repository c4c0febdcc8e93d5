"""Commands of the blocks in README and docs, run as they stand there, page by page.

The project is a reader's: a small log in place of MovieLens-100k, small settings in `conf/local`. A command that names
another environment does not read `conf/local`, so it gets the small settings as parameters.
"""

import json
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from documented import PAGES, ROOT, asked, blocks, to_run
from pinet_kedro.errors import REFUSED_EXIT
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.studies.replay import replay
from projects import run_forked
from servers import ScoringServer

pytestmark = pytest.mark.usefixtures("own_address")

# What a reader fills in, and the version that the page on promotion names.
PLACES = {"VERSION": "1", "FOLDER": "fetched", "USER": "405", "ITEM": "50", "7": "1", "…": "a better one"}
# What another file runs: until a signal, in processes of its own, or for all tests (`finished`).
ELSEWHERE = {
    "serve": "test_serving.py", "serve --env=prod --host=0.0.0.0": "test_serving.py",
    "schedule": "test_schedule.py", "schedule --env=prod": "test_schedule.py",
    "schedule --env=prod --once": "test_schedule.py", "run --env=test --pipeline=full": "conftest.py",
    "run --pipeline=full --env=prod": "test_tracking_server.py",
    "run --pipeline=backbone_training --params=backbone_training.processes=2": "test_spread.py",
    "run --pipeline=batch_inference --env=spark": "../engines/test_spark_recommendations.py",
    "run --pipeline=tuning": "test_tuning.py", "run --pipeline=full --env=tuned": "test_tuning.py",
    "airflow create --pipelines=retraining --env=prod --jinja-file=conf/airflow_dag.py.j2": "test_airflow.py",
}  # fmt: skip
OWN = "run --pipeline=full --env={} --params=filepath={},user=uid,item=sku,timestamp=time"
STUDY = "tuning.trials=60,tuning.workers=4,tuning.epochs=30,tuning.validate_every=3"
# A year in months is twelve trainings. What follows the data of an environment is what `full`, `retraining` and the
# study of `test_tuning.py` do with others.
SMALL = {
    "replay": ["--every=quarter", "--limit=2"],
    OWN.format("csv", "events.csv"): ["--to-outputs=dataset"],
    OWN.format("duckdb", "events/"): ["--to-outputs=dataset"],
    "run --pipeline=retraining --env=prod": ["--to-outputs=retraining.dataset"],
    f"run --pipeline=tuning --env=amazon_beauty --params={STUDY}": ["--to-outputs=tuning_plan"],
}
# A comparison of models may end with a refusal, which is a result.
JUDGED = {"promotion", "retraining", "refresh"}


def log():
    """A year of 150 users, sorted by time; it has the user and the items that the pages name."""
    events = generate_interactions(SyntheticLog(users=150, items=60, seed=1))
    number = {name: events[name].str[1:].astype(int) for name in ("user_id", "item_id")}
    share = events.groupby("user_id").cumcount() / events.groupby("user_id")["item_id"].transform("size")
    return pd.DataFrame({
        "user_id": number["user_id"].replace({number["user_id"].mode()[0]: 405}),
        "item_id": number["item_id"].replace({1: 50, 50: 1, 2: 181, 3: 172}),
        "timestamp": 1_600_000_000 + (share * 364 * 86_400).astype(int) + np.arange(len(events)),
    }).sort_values("timestamp")  # fmt: skip


def settings(values, prefix=""):
    """`section.name=value` of each parameter."""
    for name, value in values.items():
        if isinstance(value, dict) and name != "space":  # names with dots
            yield from settings(value, f"{prefix}{name}.")
        elif not isinstance(value, dict):
            yield f"{prefix}{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"


@pytest.fixture(scope="module")
def reader(new_project, tmp_path_factory):
    """The project of a reader, before the first command."""
    project = new_project(tmp_path_factory.mktemp("reader"))
    raw, local = project.folder / "data/01_raw", project.folder / "conf/local"
    raw.mkdir(parents=True)
    events = log()
    events[:-600].to_csv(raw / "log.csv", index=False)
    events[:-600].to_csv(raw / "amazon_beauty.csv.gz", index=False)
    own = events.rename(columns={"user_id": "uid", "item_id": "sku", "timestamp": "time"})
    own.to_csv(project.folder / "events.csv", index=False)
    (project.folder / "events").mkdir()
    for name, part in (("a.csv", own[:3000]), ("b.csv", own[3000:])):
        part.to_csv(project.folder / "events" / name, index=False)
    parameters = yaml.safe_load((project.folder / "conf/test/parameters.yml").read_text())
    del parameters["retraining"]  # the raw log is read
    parameters["tuning"]["trials"] = 2
    (local / "parameters.yml").write_text(yaml.safe_dump(parameters))
    entry = yaml.safe_load((project.folder / "conf/amazon_beauty/catalog.yml").read_text())["raw_interactions"]
    entry |= {"filepath": "data/01_raw/log.csv", "timestamp_unit": "s"}
    for env in ("local", "prod"):
        (local.parent / env / "catalog.yml").write_text(yaml.safe_dump({"raw_interactions": entry}))
    return project


def deliver(project):
    """A file of new interactions, 300 events."""
    folder = project.folder / "data/01_raw/interactions"
    folder.mkdir(exist_ok=True)
    number = len([*folder.iterdir()])
    log()[-600:][300 * number : 300 * (number + 1)].to_csv(folder / f"{number}.csv", index=False)


def answer(project):
    """One logged answer to the user of the pages, a minute before the newest events."""
    folder = project.folder / "data/09_feedback"
    folder.mkdir(parents=True, exist_ok=True)
    time = pd.Timestamp(int(log()["timestamp"].iloc[-300]) - 60, unit="s", tz="UTC").isoformat()
    line = {"time": time, "user": "405", "items": ["50", "181"], "scores": [2.0, 1.0], "stratum": "head",
            "version": "1", "arm": "champion", "split": ""}  # fmt: skip
    (folder / "answers-0-1.jsonl").write_text(json.dumps(line) + "\n")


def promote(project):
    """The newest version is the champion, so that there is one before it."""
    assert project.invoke("promote", "--force", "--reason=a test").exit_code == 0


# What has happened before a reader comes to the command.
BEFORE = {
    "run --pipeline=retraining": deliver, "run --pipeline=refresh": deliver, "run --pipeline=feedback": answer,
    "rollback": promote, "rollback --reason …": promote,
}  # fmt: skip


def test_what_is_run_elsewhere_is_in_the_docs():
    lines = {" ".join(words) for page in PAGES for _, words in to_run(page)}
    assert set(ELSEWHERE) | set(SMALL) | set(BEFORE) <= lines
    assert all((ROOT / "tests/pipelines" / name).exists() for name in ELSEWHERE.values())


def found():
    """The commands of all blocks, each once; those that make `data/` anew with other data are last."""
    pages = sorted(PAGES, key=lambda page: page.name != "README.md")
    lines = dict.fromkeys(" ".join(words) for page in pages for program, words in to_run(page) if program == "kedro")
    here = [line for line in lines if line not in ELSEWHERE]
    return ["run --pipeline=full", *sorted(here, key=lambda line: ("rollback" in line) + 2 * ("--env" in line))]


@pytest.mark.parametrize("line", found())
def test_a_command_of_the_docs_runs(reader, line, monkeypatch):
    monkeypatch.setenv("PINET_DATA", str(reader.folder / "data/01_raw"))
    words = [PLACES.get(word, word) for word in line.split(" ")]
    if "--env=prod" in words:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{reader.folder}/mlflow.db")
    if words[0] == "run" and any(word.startswith("--env=") for word in words):
        small = settings(yaml.safe_load((reader.folder / "conf/local/parameters.yml").read_text()))
        given = [word.removeprefix("--params=") for word in words if word.startswith("--params=")]
        words = [word for word in words if not word.startswith("--params=")]
        words.append(f"--params={','.join([*given, *small])}")
    BEFORE.get(line, lambda _: None)(reader)
    monkeypatch.setattr(replay, "subprocess", SimpleNamespace(run=run_forked, STDOUT=None))
    result = reader.invoke(*words, *SMALL.get(line, []))
    allowed = {0, REFUSED_EXIT} if JUDGED & set(line.replace("=", " ").split()) else {0}
    assert result.exit_code in allowed, result.output


def test_the_python_of_the_readme_answers(reader, monkeypatch):
    monkeypatch.chdir(reader.folder)
    [block] = [block for block in blocks(ROOT / "README.md") if block.startswith("import mlflow")]
    *statements, question = block.strip().splitlines()
    names = {}
    exec("\n".join(statements), names)
    [answer] = eval(question.strip(), names)
    assert len(answer["items"]) == 5
    assert not set(answer["items"]) & {"50", "181", "172"}


def keys(value):
    """The names in an answer, at every level."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(inner) for inner in value[:1] if isinstance(inner, dict)] if isinstance(value, list) else None


def test_a_request_of_the_docs_is_answered_as_they_say(reader):
    """By the champion, which the commands above have made."""
    requests = [found for page in PAGES for found in asked(page)]
    assert len(requests) == sum(text.count("curl ") for page in PAGES for text in blocks(page)) > 0
    server = ScoringServer(reader.folder, "local")
    try:
        for words, expected in requests:
            at = [word.replace("localhost:5001", f"127.0.0.1:{server.port}") for word in words]
            assert at != words
            done = subprocess.run(
                [*at, "--silent", "--show-error", "--fail"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert keys(json.loads(done.stdout)) == keys(json.loads(re.sub(r"\[\.\.\.\]", "[]", expected)))
    finally:
        server.stop()
