"""Two versions served side by side to many users over HTTP, and what the users then took."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pandas as pd
import pytest
import yaml

from pinet_kedro.project import project_folder
from servers import ScoringServer

pytestmark = pytest.mark.usefixtures("own_address")

USERS = [f"user {n}" for n in range(200)]
FEEDBACK = ("--pipeline=feedback", "--env=test")
HOURS = 2 / 3600


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A copy of the finished project that serves version 1 as champion and version 2 as challenger, with a log."""
    copy = finished.copy(tmp_path_factory.mktemp("split") / "project")
    place = copy.folder / "conf/test/parameters.yml"
    settings = yaml.safe_load(place.read_text())
    settings["serving"] |= {"split": {"champion": 0.5, "challenger": 0.5}, "log": {"enabled": True, "bytes": 100_000}}
    settings["feedback"] = {"hours": HOURS}
    place.write_text(yaml.safe_dump(settings, sort_keys=False))
    client = registry(copy)
    first = client.get_model_version("pinet", "1")
    client.create_model_version("pinet", first.source, tags=first.tags)
    client.set_registered_model_alias("pinet", "champion", "1")
    client.set_registered_model_alias("pinet", "challenger", "2")
    return copy


def registry(project):
    client = mlflow.MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    mlflow.set_tracking_uri(client.tracking_uri)
    return client


def logged(project):
    files = sorted((project.folder / "data/09_feedback").glob("answers-*.jsonl"))
    return pd.DataFrame([json.loads(line) for path in files for line in path.read_text().splitlines()])


@pytest.fixture(scope="module")
def answered(project):
    """What the server answered each user; two versions, then another challenger."""
    items = pd.read_parquet(project.folder / "data/05_model_input/dataset/items.parquet")["item_id"].tolist()
    asked = [{"history": items[n % 50 :][:4], "user_id": user, "k": 5} for n, user in enumerate(USERS)]
    server = ScoringServer(project.folder, "test")
    try:
        server.wait_for(r"Serving pinet version 1 and 2 \(champion 0.5, challenger 0.5\)")
        with ThreadPoolExecutor(10) as pool:
            batches = list(pool.map(server.rows, [{"inputs": asked[start:][:5]} for start in range(0, 200, 5)]))
        answers = {row["user_id"]: row for rows in batches for row in rows}
        assert server.version() == "1"  # without a user: the first arm
        again = server.rows({"inputs": asked[:50]})
        client = registry(project)
        first = client.get_model_version("pinet", "1")
        client.create_model_version("pinet", first.source, tags=first.tags)
        client.set_registered_model_alias("pinet", "challenger", "3")
        server.wait_for("'challenger' has moved: serving version 1 and 3 in place of 1 and 2")
        moved = server.rows({"inputs": asked[:50]})
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()
    return answers, again, moved


def without_scores(row):
    return {name: value for name, value in row.items() if name != "scores"}


def test_users_keep_their_arm_in_any_batch_and_when_its_version_changes(answered):
    answers, again, moved = answered
    assert [row["user_id"] for row in again] == USERS[:50]
    assert [without_scores(row) for row in again] == [without_scores(answers[user]) for user in USERS[:50]]
    for row in again:  # requests that come together are one batch, and the last digit depends on its size
        assert row["scores"] == pytest.approx(answers[row["user_id"]]["scores"], rel=1e-4)
    versions = [row["model_version"] for row in again]
    assert {"1", "2"} == set(versions)
    assert [row["model_version"] for row in moved] == ["3" if version == "2" else version for version in versions]


def test_the_log_has_every_answer_to_a_user_once(project, answered):
    answers, again, moved = answered
    table = logged(project)
    assert len(table) == len(answers) + len(again) + len(moved)
    for user, rows in table.groupby("user"):
        assert rows["items"].iloc[0] == answers[user]["items"]
        assert rows["version"].iloc[0] == answers[user]["model_version"]
    assert set(table["split"]) == {
        "champion=1:0.5,challenger=2:0.5;salt=1",
        "champion=1:0.5,challenger=3:0.5;salt=1",
    }


def test_the_report_finds_the_arm_whose_users_take_more(project, answered, monkeypatch):
    """Users of the challenger take an item of every second answer, users of the champion of every tenth."""
    table = logged(project)
    table = table[~table["user"].isin(USERS[:50])]  # those were answered three times
    every = table["arm"].map({"champion": 10, "challenger": 2})
    clicks = table[table.groupby("arm").cumcount() % every == 0]
    moment = pd.to_datetime(clicks["time"], format="ISO8601").astype("datetime64[ms, UTC]").astype("int64")
    folder = project.folder / "data/01_raw/interactions"
    folder.mkdir(parents=True)
    taken = pd.DataFrame({"user_id": clicks["user"], "item_id": clicks["items"].str[2], "timestamp": moment + 1})
    time.sleep(2.5)  # until no answer is censored
    later = {"user_id": ["nobody"], "item_id": ["nothing"], "timestamp": [round(time.time() * 1000) - 1]}
    pd.concat([taken, pd.DataFrame(later)]).to_csv(folder / "clicks.csv", index=False)
    monkeypatch.chdir(project.folder)
    assert project_folder() == project.folder
    result = project.run(*FEEDBACK)
    assert result.exit_code == 0, result.output
    report = json.loads((project.folder / "data/08_reporting/feedback.json").read_text())
    assert (report["logged"], report["counted"], report["censored"]) == (300, 300, 0)
    for cell in report["cells"]:
        expected = clicks[(clicks["split"] == cell["split"]) & (clicks["arm"] == cell["arm"])]
        assert cell["groups"]["all"]["hits"] == len(expected)
    [difference] = [d for d in report["differences"] if "challenger=2" in d["split"]]
    assert difference["groups"]["all"]["low"] > 0.05
    assert (
        "Feedback: challenger (version 2) against champion (version 1): all users +"
        in (project.folder / "data/08_reporting/feedback.html").read_text()
    )
    assert "challenger − champion" in (project.folder / "data/08_reporting/feedback.html").read_text()


def test_a_damaged_log_is_an_error_of_its_own_run(project, answered):
    folder = project.folder / "data/09_feedback"
    (folder / "answers-0.jsonl").write_text("no answer\n")
    result = project.run(*FEEDBACK)
    assert result.exit_code == 1
    assert "data/09_feedback/answers-0.jsonl, line 1: it is not JSON" in result.output
    (folder / "answers-0.jsonl").unlink()
