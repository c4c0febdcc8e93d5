"""`kedro serve` as a process of its own, asked over HTTP."""

import http.client
import json
import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from pinet_kedro.datasets.folders import PreparedDataset
from pinet_kedro.evaluation.ranks import rank_models
from pinet_kedro.registry.loading import load_models
from pinet_kedro.tracking.config import Tracking
from servers import ScoringServer


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A copy of the finished project whose version 1 is the champion."""
    folder = tmp_path_factory.mktemp("served") / "project"
    copy = finished.copy(folder)
    client_of(folder).set_registered_model_alias("pinet", "champion", "1")
    return copy


@pytest.fixture(scope="module")
def server(project):
    running = ScoringServer(project.folder, "test", fresh=True)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def items(project):
    return pd.read_parquet(project.folder / "data/05_model_input/dataset/items.parquet")["item_id"].tolist()


def client_of(folder):
    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def loaded(project):
    """The version that is served, as MLflow loads it.

    It puts the code of the version on `sys.path`, where workers of a later test would import it.
    """
    before, path = mlflow.get_tracking_uri(), sys.path.copy()
    mlflow.set_tracking_uri(client_of(project.folder).tracking_uri)
    model = mlflow.pyfunc.load_model("models:/pinet/1")
    mlflow.set_tracking_uri(before)
    sys.path[:] = path
    return model


def test_an_answer_is_typed_and_carries_the_version(server, items):
    [row] = server.rows({"inputs": [{"history": items[:3], "k": 4, "user_id": "u1"}]})
    assert list(row) == ["items", "scores", "stratum", "model_version", "unknown_items", "fallback", "user_id"]
    assert len(row["items"]) == len(row["scores"]) == 4
    assert row["scores"] == sorted(row["scores"], reverse=True)
    assert set(row["items"]) <= set(items) - set(items[:3])
    assert (row["stratum"], row["model_version"], row["user_id"]) == ("tail", "1", "u1")


def test_test_users_find_their_targets_where_evaluation_ranks_them(server, project, loaded, items, own_address):
    """What is measured is what is served, with plugins: over HTTP, and by the model that MLflow loads.

    Served is the model that has learnt the whole log. The judged one of the same version is the one in the evaluation.
    """
    data = project.folder / "data"
    ids = np.array(["", *items], object)
    dataset = PreparedDataset(str(data / "05_model_input/dataset")).load()
    models = load_models("1", Tracking(uri=client_of(project.folder).tracking_uri))
    evaluated = pd.read_parquet(data / "07_model_output/ranks.parquet").query("model == 'refit_pin'")
    judged = rank_models({"judged": models.judged}, dataset)
    np.testing.assert_array_equal(judged["rank"], evaluated["rank"])
    flat, offsets, at = dataset.sequences.items, dataset.sequences.offsets, dataset.split.test_at
    ranks = rank_models({"served": models.served}, dataset)
    assert 0 < len(ranks) < (at > 0).size  # some users' next item is one that is never offered again
    runs = [ids[flat[offsets[user] :][: at[user] + 1]] for user in ranks["user"]]
    asked = [{"history": run[:-1].tolist(), "k": len(items)} for run in runs]
    over_http = [row for at_once in range(0, len(asked), 50) for row in server.rows({"inputs": asked[at_once:][:50]})]
    for answers in (over_http, loaded.predict(asked)):
        places = []
        for answer, run in zip(answers, runs, strict=True):
            scores = np.asarray(answer["scores"])
            own = scores[answer["items"].index(run[-1])]
            places.append(1 + (scores > own).sum() + 0.5 * ((scores == own).sum() - 1))
        np.testing.assert_array_equal(places, ranks["rank"])


def test_params_are_defaults_for_all_rows(server, items):
    rows = server.rows({"inputs": [{"history": items[:3]}, {"history": items[:3], "k": 2}], "params": {"k": 3}})
    assert [len(row["items"]) for row in rows] == [3, 2]
    assert rows[0]["items"][:2] == rows[1]["items"]
    assert "user_id" not in rows[0]


def test_excluded_items_are_not_offered_and_seen_ones_on_request(server, items):
    everything = server.rows({"inputs": [{"history": items[:3]}], "params": {"k": 60, "exclude_seen": False}})[0][
        "items"
    ]
    assert set(everything) == set(items)
    without = {"history": items[:3], "exclude": [*everything[:5], "unknown"]}
    assert server.rows({"inputs": [without], "params": {"k": 60, "exclude_seen": False}})[0]["items"] == everything[5:]


def test_an_allow_list_keeps_scores_and_order_over_http_and_in_mlflow(server, loaded, items):
    row = {"history": items[:3], "k": 60}
    [full] = server.rows({"inputs": [row]})
    assert server.rows({"inputs": [row | {"only": items}]}) == [full]
    allowed = [*items[2:40:2], "unknown"]
    places = [place for place, item in enumerate(full["items"]) if item in allowed]
    rows = [row | {"only": allowed}, row, row | {"only": []}]
    for answers in (server.rows({"inputs": rows}), loaded.predict(rows), loaded.predict(pd.DataFrame(rows))):
        assert answers[0]["items"] == [full["items"][place] for place in places]
        assert answers[0]["scores"] == pytest.approx([full["scores"][place] for place in places], rel=1e-4)
        assert answers[0]["unknown_items"] == 0
        assert answers[1]["items"] == full["items"]
        assert answers[2]["items"] == []


def test_categories_filter_and_spread_over_http_and_in_mlflow(server, loaded, items):
    """Item i0…n is even or odd, and `fifth` as well if n is a multiple of five; the last has no category."""
    row = {"history": items[:3], "k": 60}
    [full] = server.rows({"inputs": [row]})
    even = [item for item in full["items"] if int(item[1:]) % 2 == 0 and item != items[-1]]
    rows = [row | {"categories": ["even"], "not_categories": ["fifth"]}, row | {"k": 4, "min_categories": 3}]
    for answers in (server.rows({"inputs": rows}), loaded.predict(rows), loaded.predict(pd.DataFrame(rows))):
        assert answers[0]["items"] == [item for item in even if int(item[1:]) % 5]
        assert "distinct_categories" not in answers[0]
        assert answers[1]["distinct_categories"] == 3
        scores = dict(zip(full["items"], full["scores"], strict=True))
        assert answers[1]["scores"] == pytest.approx([scores[item] for item in answers[1]["items"]], rel=1e-4)
    [few] = server.rows({"inputs": [row | {"categories": ["odd"], "not_categories": ["fifth"], "min_categories": 2}]})
    assert few["distinct_categories"] == 1
    assert few["items"]
    bad = {"inputs": [{"history": items[:3], "not_categories": ["fith"]}]}
    with ThreadPoolExecutor(2) as pool:
        refused, good = pool.map(server.ask, (bad, {"inputs": [row]}))
    assert (refused[0], good[0]) == (400, 200)
    assert "no item of this model has the category 'fith'; did you mean 'fifth'?" in json.loads(refused[1])["message"]


def test_times_order_a_history(server, loaded, items):
    ordered = {"history": items[:4], "k": 20}
    times = ["2026-01-04T00:00:00Z", "2026-01-01", "2026-01-03", "2026-01-02"]
    mixed = {"history": [items[n] for n in (3, 0, 2, 1)], "k": 20, "times": [4.5, 1, 3, 2]}
    same = {"history": items[:4], "k": 20, "times": [7] * 4}
    [expected] = server.rows({"inputs": [ordered]})
    for answers in (server.rows({"inputs": [mixed, same]}), loaded.predict(pd.DataFrame([mixed, same]))):
        assert [answer["items"] for answer in answers] == [expected["items"]] * 2
    stamped = mixed | {"times": [pd.Timestamp(time[:10]) for time in times]}
    assert loaded.predict([stamped])[0]["items"] == expected["items"]
    for wrong, words in (
        (times, "row 1, times.1: '2026-01-01' is a date without an offset"),
        ([1], "row 1, times: 1 "),
    ):
        status, text = server.ask({"inputs": [ordered, mixed | {"times": wrong}]})
        assert (status, words in text) == (400, True), text


def test_a_value_that_is_missing_in_a_column_is_left_out(loaded, items):
    """With one missing, a column of whole numbers has floats."""
    first = {
        "history": items[:3],
        "k": 4,
        "exclude": items[5:9],
        "categories": ["odd"],
        "min_categories": 2,
        "user_id": 7,
    }
    second = {"history": items[:2], "only": items[4:30]}
    table = pd.DataFrame([first, second])
    assert table["k"].isna().any()
    assert loaded.predict(table) == loaded.predict([first, second])
    assert [len(row["items"]) for row in loaded.predict(table, params={"k": 3})] == [4, 3]
    assert loaded.predict(table)[0]["user_id"] == "7"


def test_the_order_of_a_history_is_in_the_errors_of_mlflow(loaded):
    for wrong in ("1", None, [1.5], [True]):
        with pytest.raises(mlflow.MlflowException, match="a list of item ids, texts or whole numbers, oldest first"):
            loaded.predict([{"history": wrong}])


def test_the_server_describes_itself(server, items):
    status, text = server.ask("", path="/openapi.json", method="GET")
    described = json.loads(text)
    assert status == 200
    assert described["components"]["schemas"]["Row"]["properties"]["k"]["anyOf"][0]["maximum"] == 100
    assert not any(
        "Not for version" in field["description"]
        for field in described["components"]["schemas"]["Row"]["properties"].values()
    )
    post = described["paths"]["/invocations"]["post"]
    shapes = described["components"]["schemas"]["Answer"]
    for example in post["requestBody"]["content"]["application/json"]["examples"].values():
        for answer in server.rows(example["value"]):
            assert set(shapes["required"]) <= set(answer) <= set(shapes["properties"])
    status, page = server.ask("", path="/docs", method="GET")
    assert (status, "<code>not_categories</code>" in page, "version 1" in page) == (200, True, True)


def test_scores_are_explained_on_request_over_http_and_in_mlflow(server, loaded, items):
    rows = [{"history": [*items[:3], "?"], "k": 4, "user_id": "u", "only": items[3:30]}, {"history": [], "k": 2}]
    plain = server.rows({"inputs": rows})
    explained = server.rows({"inputs": rows, "params": {"explain": True}})
    assert loaded.predict(rows, params={"explain": True}) == explained
    for known, row in zip(plain, explained, strict=True):
        assert {name: row[name] for name in known if name != "scores"} | {"scores": None} == known | {"scores": None}
        assert row["scores"] == pytest.approx(known["scores"], rel=1e-4)
        for score, why in zip(row["scores"], row["explained"], strict=True):
            parts = why["contributions"]
            assert sum(parts.values()) == pytest.approx(score, abs=1e-5 * sum(map(abs, parts.values())))
            assert parts.keys() == row["average"].keys()
    because = [why["because"] for why in explained[0]["explained"] if "because" in why]
    assert because
    assert set(because) <= set(items[:3])
    assert "popular" in explained[1]["note"]
    assert not any("because" in why for why in explained[1]["explained"])
    status, text = server.ask({"inputs": rows * 6, "params": {"explain": True}})
    assert (status, "at most 10 rows with params.explain" in text) == (400, True)


def test_a_version_of_an_earlier_release_answers_and_refuses_new_fields(project, items, own_address, tmp_path):
    """The version has its own code. Here it is that of now, without the fields."""
    client = client_of(project.folder)
    mlflow.set_tracking_uri(client.tracking_uri)
    files = shutil.copytree(mlflow.artifacts.download_artifacts("models:/pinet/1"), tmp_path / "files")
    for name in ("served_model.py", "code/pinet_kedro/serving/served_model.py"):
        edit(files / name, ("    only: list[str] | None = None\n", ""), ("only=row.only", "only=None"))
        edit(files / name, ('"exclude", "only", "categories"', '"exclude", "categories"'))
        edit(files / name, ('"unknown_items": found.unknown_items,', ""), ('"fallback": found.fallback,', ""))
    description = yaml.safe_load((files / "MLmodel").read_text())
    signature = description["signature"]
    [fields] = json.loads(signature["inputs"])
    del fields["properties"]["only"]
    signature["inputs"] = json.dumps([fields])
    signature["params"] = json.dumps([p for p in json.loads(signature["params"]) if p["name"] != "explain"])
    (files / "MLmodel").write_text(yaml.safe_dump(description))
    version = client.create_model_version("pinet", str(files)).version
    assert project.invoke("trust", str(version), "--env=test").exit_code == 0
    place = tmp_path / "new" / "fetched"
    assert project.invoke("fetch", str(version), str(place), "--env=test").exit_code == 0
    assert [path.name for path in place.parent.iterdir()] == ["fetched"]
    assert {path.name for path in place.iterdir()} == {path.name for path in files.iterdir()} - {"__pycache__"}
    earlier = ScoringServer(project.folder, "test", f"--version={version}")
    try:
        [row] = earlier.rows({"inputs": [{"history": items[:3], "k": 2}]})
        assert list(row) == ["items", "scores", "stratum", "model_version"]
        for more, name in (({"only": items}, "inputs.only"), ({}, "params.explain")):
            params = {} if more else {"params": {"explain": True}}
            status, text = earlier.ask({"inputs": [{"history": items[:3]} | more]} | params)
            assert (status, f"{name}: the version that answers does not know" in text) == (400, True)
    finally:
        earlier.stop()


def edit(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_whole_numbers_are_ids(server, loaded):
    numbers = [{"history": [7, 8], "exclude": [9], "only": [10], "user_id": 5}]
    texts = [{"history": ["7", "8"], "exclude": ["9"], "only": ["10"], "user_id": "5"}]
    assert server.rows({"inputs": numbers}) == server.rows({"inputs": texts}) == loaded.predict(texts)
    assert loaded.predict(numbers) == loaded.predict(pd.DataFrame(numbers)) == loaded.predict(texts)


def test_unknown_items_count_as_no_history(server, items):
    rows = [{"history": history} for history in (["nobody", "knows"], [], ["nobody", items[0]])]
    unknown, empty, known = server.rows({"inputs": rows})
    assert (unknown["unknown_items"], unknown["fallback"]) == (2, True)
    assert unknown | {"unknown_items": 0} == empty
    assert len(empty["items"]) == 10
    assert (known["unknown_items"], known["fallback"]) == (1, False)


def test_every_table_format_of_mlflow_is_understood(server, items):
    expected = server.rows({"inputs": [{"history": items[:2], "k": 3}]})
    assert server.rows({"dataframe_records": [{"history": items[:2], "k": 3}]}) == expected
    assert server.rows({"instances": [{"history": items[:2], "k": 3}]}) == expected
    assert server.rows({"dataframe_split": {"columns": ["history", "k"], "data": [[items[:2], 3]]}}) == expected


def test_requests_at_once_get_what_each_gets_alone(server, items):
    bodies = [{"inputs": [{"history": items[n : n + 1 + n % 5], "k": 1 + n % 7}]} for n in range(40)]
    alone = [server.rows(body) for body in bodies]
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(server.rows, bodies))
    for [a], [b] in zip(alone, together, strict=True):
        assert a["items"] == b["items"]
        assert a["scores"] == pytest.approx(b["scores"], rel=1e-4, abs=1e-4)


ROW = {"history": ["1"]}
BAD = {
    "not JSON": ("{", 400, "JSON"),
    "not UTF-8": (b"\xff\xfe", 400, "JSON"),
    "too deep": ("[" * 50_000, 400, "JSON"),
    "a list": ([ROW], 400, "object"),
    "no rows": ({"inputs": []}, 400, "at least 1"),
    "no inputs": ({"params": {"k": 1}}, 400, "inputs: Field required"),
    "no history": ({"inputs": [{"user_id": "u"}]}, 400, "inputs.0.history: Field required"),
    "null history": ({"inputs": [{"history": None}]}, 400, "inputs.0.history"),
    "fractions for ids": ({"inputs": [ROW, {"history": [1, 2.5]}]}, 400, "inputs.1.history.1"),
    "a truth for an id": ({"inputs": [ROW, {"history": [True]}]}, 400, "texts or whole numbers, the oldest first"),
    "a string for a history": ({"inputs": [{"history": "1"}]}, 400, "inputs.0.history"),
    "misspelt field": ({"inputs": [ROW | {"exlude": ["2"]}]}, 400, "exlude"),
    "misspelt parameter": ({"inputs": [ROW], "params": {"top": 3}}, 400, "params.top"),
    "k is 0": ({"inputs": [ROW | {"k": 0}]}, 400, "inputs.0.k"),
    "k is too large": ({"inputs": [ROW], "params": {"k": 101}}, 400, "params.k"),
    "k is text": ({"inputs": [ROW], "params": {"k": "many"}}, 400, "params.k"),
    "long history": ({"inputs": [{"history": ["1"] * 1001}]}, 400, "at most 1000"),
    "long exclude list": ({"inputs": [ROW | {"exclude": ["1"] * 1001}]}, 400, "at most 1000"),
    "long allow-list": ({"inputs": [ROW | {"only": ["1"] * 10_001}]}, 400, "inputs.0.only: List should have at most"),
    "long list of categories": ({"inputs": [ROW | {"categories": ["a"] * 101}]}, 400, "inputs.0.categories"),
    "no categories asked for": ({"inputs": [ROW | {"min_categories": 0}]}, 400, "inputs.0.min_categories"),
    "unknown category": ({"inputs": [ROW | {"categories": ["evn"]}]}, 400, "did you mean 'even'?"),
    "no time": ({"inputs": [ROW | {"times": ["soon"]}]}, 400, "'soon' is no time"),
    "truth for a time": ({"inputs": [ROW | {"times": [True]}]}, 400, "inputs.0.times.0"),
    "long id": ({"inputs": [{"history": ["1" * 257]}]}, 400, "at most 256"),
    "many rows": ({"inputs": [ROW] * 101}, 400, "at most 100"),
    "long body": ("x" * 1_000_001, 413, "1000000 bytes"),
    "ragged table": ({"dataframe_split": {"columns": ["history"], "data": [[["1"], 2]]}}, 400, "dataframe_split"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_get_a_sentence(server, case):
    body, status, words = BAD[case]
    found, text = server.ask(body)
    assert found == status, text
    answer = json.loads(text)
    assert list(answer) == ["error_code", "message"]
    assert words in answer["message"]
    assert len(text) < 1000


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/csv"}])
def test_other_content_types_are_refused(server, headers):
    status, text = server.ask("history\n1\n", headers)
    assert (status, json.loads(text)["message"]) == (415, "the header Content-Type must be application/json")


def test_health_and_unknown_addresses(server):
    assert server.ask("", path="/ping", method="GET")[0] == 200
    assert server.ask("", path="/nowhere", method="GET")[0] == 404


def series(server):
    status, text = server.ask("", path="/metrics", method="GET")
    assert status == 200
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:{.*})?) (\S+)$", text, re.MULTILINE)}


def test_requests_answers_and_errors_are_counted(server, items):
    before = series(server)
    server.rows({"inputs": [{"history": items[:2]}, {"history": ["nobody", "knows"]}, {"history": [items[0], "?"]}]})
    server.rows({"inputs": [{"history": items[:2]}], "params": {"explain": True}})
    assert server.ask("{")[0] == 400
    after = series(server)
    expected = {
        'pinet_requests_total{status="200"}': 2, 'pinet_requests_total{status="400"}': 1,
        'pinet_answers_total{version="1"}': 4, 'pinet_fallbacks_total{version="1"}': 1,
        'pinet_unknown_items_total{version="1"}': 3, "pinet_request_seconds_count": 3,
    }  # fmt: skip
    assert {name: after[name] - before[name] for name in expected} == expected
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", "/metrics")
    assert connection.getresponse().headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    connection.close()
    assert server.ask("", {"Host": "evil.example"}, "/metrics", "GET")[0] == 421
    assert server.ask("{}", path="/metrics")[0] == 405


def test_a_moved_champion_is_followed_without_a_failed_request_and_a_broken_one_is_not(server, project, tmp_path):
    client = client_of(project.folder)
    mlflow.set_tracking_uri(client.tracking_uri)  # where a version's source, a logged model, is looked up
    assert server.version() == "1"
    first = client.get_model_version("pinet", "1")
    newer = str(client.create_model_version("pinet", first.source, tags=first.tags).version)
    client.set_registered_model_alias("pinet", "champion", newer)
    until = time.monotonic() + 300
    seen = [server.version()]
    while seen[-1] == "1" and time.monotonic() < until:
        seen.append(server.version())
    assert seen[-1] == newer
    server.wait_for(f"serving version {newer} in place of 1")
    assert {server.version() for _ in range(5)} == {newer}

    broken = tmp_path / "broken"
    fetched = mlflow.artifacts.download_artifacts("models:/pinet/1", tracking_uri=client.tracking_uri)
    shutil.copytree(fetched, broken)
    weights = broken / "artifacts/recommender/weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"cut off")
    changed = client.create_model_version("pinet", str(broken), tags=first.tags).version
    client.set_registered_model_alias("pinet", "champion", changed)
    server.wait_for(f"Version {changed} cannot be fetched .*not those that were registered.*version {newer} goes on")
    assert server.version() == newer
    weights.write_bytes(whole)
    server.wait_for(f"serving version {changed} in place of {newer}")
    weights.write_bytes(b"cut off")

    unusable = client.create_model_version("pinet", str(broken)).version
    assert project.invoke("trust", str(unusable), "--env=test").exit_code == 0
    client.set_registered_model_alias("pinet", "champion", unusable)
    server.wait_for(f"Version {unusable} did not start; version {changed} goes on")
    assert server.version() == str(changed)


def test_a_version_is_fetched_checked_for_mlflow_to_load(project, tmp_path):
    result = project.invoke("fetch", "1", str(tmp_path / "files"), "--env=test")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "files/MLmodel").exists()
    assert "is there already" in project.invoke("fetch", "1", str(tmp_path / "files"), "--env=test").output


def test_a_worker_that_dies_is_replaced(server):
    before = series(server)
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    server.wait_for(r"A worker has died \(exit status -9\)")
    assert server.version()  # the request waits until the new worker answers
    assert server.workers() != [worker]
    after = series(server)
    assert all(after[name] >= value for name, value in before.items())
    assert after['pinet_requests_total{status="200"}'] == before['pinet_requests_total{status="200"}'] + 1


def test_sigterm_ends_the_server_and_its_workers(server):
    workers = server.workers()
    server.process.terminate()
    assert server.process.wait(120) == 0
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--version=winner", "has no alias 'winner'"),
        ("--version=77", "has no version 77"),
        ("--host=192.0.2.1", "serving.host = 192.0.2.1"),
        ("--port=99999", "port"),
    ],
)
def test_a_sentence_says_what_cannot_be_served(project, argument, words):
    result = project.invoke("serve", "--env=test", argument)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert words in result.output
