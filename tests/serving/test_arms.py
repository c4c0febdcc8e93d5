"""Two versions side by side, and the log of answers, without a network."""

import asyncio
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import pinet_kedro
from pinet_kedro.checking import checked
from pinet_kedro.errors import InputError
from pinet_kedro.scoring_server.answer_log import AnswerLog
from pinet_kedro.scoring_server.arms import Arm, Arms
from pinet_kedro.scoring_server.batching import Batcher
from pinet_kedro.serving.config import Serving

USERS = [f"user {n}" for n in range(20_000)]


def split(shares, salt="1", log=None):
    """Arms whose model answers with the name of its arm, and fails on the history ['bad']."""

    def batcher(name):
        async def app(scope, receive, send):
            rows = json.loads((await receive())["body"])["inputs"]
            bad = any(row["history"] == ["bad"] for row in rows)
            answers = [
                {"items": [name, *row["history"]], "scores": [1.0, 0.5], "stratum": "tail", "model_version": name}
                for row in rows
            ]
            place = next((place for place, row in enumerate(rows) if row["history"] == ["bad"]), 0)
            body = {"error_code": "BAD", "message": f"row {place}: bad"} if bad else {"predictions": answers}
            await send({"type": "http.response.start", "status": 400 if bad else 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

        return Batcher(app, 100)

    return Arms([Arm(name, share, f"v{name}", batcher(name)) for name, share in shares.items()], salt, log)


def names(arms):
    return [arms.of(user).name for user in USERS]


def test_a_user_always_gets_the_same_arm_whatever_the_order_of_the_configuration():
    first = names(split({"champion": 0.7, "challenger": 0.3}))
    assert first == names(split({"champion": 0.7, "challenger": 0.3}))
    assert first == names(split({"challenger": 0.3, "champion": 0.7}))
    assert first != names(split({"champion": 0.7, "challenger": 0.3}, salt="2"))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_shares_of_the_users_are_those_of_the_configuration(share):
    found = names(split({"champion": 1 - share, "challenger": share})).count("challenger")
    assert abs(found - share * len(USERS)) < 4 * (share * (1 - share) * len(USERS)) ** 0.5


def test_a_growing_share_moves_only_the_users_that_it_must():
    before = names(split({"champion": 0.9, "challenger": 0.1}))
    after = names(split({"champion": 0.7, "challenger": 0.3}))
    moves = {(a, b) for a, b in zip(before, after, strict=True) if a != b}
    assert moves == {("champion", "challenger")}
    moved = sum(a != b for a, b in zip(before, after, strict=True))
    assert abs(moved - 0.2 * len(USERS)) < 4 * (0.2 * 0.8 * len(USERS)) ** 0.5


def test_a_failure_names_the_row_of_the_whole_request():
    arms = split({"champion": 0.5, "challenger": 0.5})
    mine, other = (next(user for user in USERS if arms.of(user).name == name) for name in ("champion", "challenger"))
    users = [mine, other, mine, other]
    rows = [{"history": ["bad" if place == 3 else "a"], "user_id": user} for place, user in enumerate(users)]
    status, body = asyncio.run(arms.ask({"headers": []}, {"inputs": rows}))
    assert (status, json.loads(body)["message"]) == (400, "row 3: bad")


def test_a_request_without_a_user_gets_the_first_arm():
    assert split({"champion": 0.5, "challenger": 0.5}).of(None).name == "champion"
    assert split({"challenger": 0.5, "champion": 0.5}).of(None).name == "challenger"


def ask(arms, *requests):
    async def main():
        return await asyncio.gather(*(arms.ask({"headers": []}, request) for request in requests))

    return [(status, json.loads(body)) for status, body in asyncio.run(main())]


def rows(users, history="h"):
    return {"inputs": [{"history": [f"{history}{n}"], "user_id": user} for n, user in enumerate(users)]}


def test_users_of_both_arms_in_one_request_get_their_own_in_the_order_of_the_rows():
    arms = split({"champion": 0.5, "challenger": 0.5})
    requests = [rows(USERS[start : start + 9], f"{start}-") for start in range(0, 90, 9)]
    for (status, body), request in zip(ask(arms, *requests), requests, strict=True):
        assert status == 200
        expected = [[arms.of(row["user_id"]).name, *row["history"]] for row in request["inputs"]]
        assert len({name for name, _ in expected}) == 2
        assert [answer["items"] for answer in body["predictions"]] == expected


def test_a_failure_of_one_arm_is_that_of_the_request():
    request = rows(USERS[:9])
    request["inputs"][4]["history"] = ["bad"]
    assert ask(split({"champion": 0.5, "challenger": 0.5}), request)[0][0] == 400


def logged(folder):
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_answers_to_users_are_logged_as_they_were_given(tmp_path):
    arms = split({"champion": 0.5, "challenger": 0.5}, log=AnswerLog(str(tmp_path), 10**6, 5))
    [(_, body)] = ask(arms, rows([*USERS[:5], None, " "]))
    found = logged(tmp_path)
    assert [line["user"] for line in found] == USERS[:5]
    for line, answer in zip(found, body["predictions"], strict=False):
        assert (line["items"], line["scores"], line["stratum"]) == (answer["items"], answer["scores"], "tail")
        assert (line["arm"], line["version"]) == (answer["model_version"], f"v{answer['model_version']}")
        assert line["split"] == "champion=vchampion:0.5,challenger=vchallenger:0.5;salt=1"
        assert line["time"].endswith("+00:00")
    assert [path.stat().st_mode & 0o077 for path in tmp_path.iterdir()] == [0]


def test_another_salt_is_another_split(tmp_path):
    """It assigns the users anew, so their answers are not to be pooled with those of before."""
    log = AnswerLog(str(tmp_path), 10**6, 5)
    for salt in ("1", "2"):
        ask(split({"champion": 0.5, "challenger": 0.5}, salt, log), rows(["u"]))
    assert [line["split"].partition(";")[2] for line in logged(tmp_path)] == ["salt=1", "salt=2"]


def test_failed_requests_are_not_logged_and_one_version_is_no_split(tmp_path):
    arms = split({"champion": 1.0}, log=AnswerLog(str(tmp_path), 10**6, 5))
    ask(arms, {"inputs": [{"history": ["bad"], "user_id": "u"}]}, rows(["v"]))
    assert [(line["user"], line["split"]) for line in logged(tmp_path)] == [("v", "")]


LINE = {"user": "u" * 100}
BYTES = len(json.dumps(LINE, separators=(",", ":"))) + 1


def test_files_are_bounded_in_size_and_number_and_the_newest_stay(tmp_path):
    log = AnswerLog(str(tmp_path), 3 * BYTES, 4)
    for n in range(50):
        log.write([{"user": f"{n:0100}"}])
    log.close()
    assert {path.stat().st_size for path in tmp_path.iterdir()} <= {BYTES, 2 * BYTES, 3 * BYTES}
    assert [int(line["user"]) for line in logged(tmp_path)] == list(range(50 - (3 * 3 + 50 % 3), 50))
    assert log.lost == 0


def write_many(folder, name):
    log = AnswerLog(folder, 20_000, 100)
    for n in range(500):
        log.write([{"user": f"{name}-{n}" * 10}])


def test_writers_at_once_do_not_mix_lines(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(str(tmp_path), name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {line["user"] for line in logged(tmp_path)} == {f"{name}-{n}" * 10 for name in "abcd" for n in range(500)}


def test_a_file_that_another_process_has_removed_is_begun_anew(tmp_path):
    log = AnswerLog(str(tmp_path), 10**6, 5)
    log.write([LINE])
    next(tmp_path.iterdir()).unlink()
    log.write([LINE])
    assert logged(tmp_path) == [LINE]


def test_a_folder_that_cannot_be_written_costs_lines_and_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    log = AnswerLog(str(tmp_path / "file/answers"), 10**6, 5)
    log.write([LINE] * 3)
    assert (log.lost, len(caplog.records)) == (3, 1)
    log.close()
    assert "3 answers are not in the log" in caplog.text
    (tmp_path / "file").unlink()
    log.write([LINE])
    assert logged(tmp_path / "file/answers") == [LINE]


def fill(folder, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BYTES + 10, resource.RLIM_INFINITY))  # the disk ends in a line
    log = AnswerLog(folder, 10**6, 5)
    log.write([LINE] * 5)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.write([LINE])
    results.put(log.lost)


def test_a_full_disk_costs_whole_lines_and_leaves_no_part_of_one(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=fill, args=(str(tmp_path), results))
    child.start()
    child.join()
    assert results.get() == 3
    assert logged(tmp_path) == [LINE] * 3
    assert len(list(tmp_path.iterdir())) == 1


OWN_CODE = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from scoring_server import own_code

class Model:
    metadata = input_example = None

    def __init__(self, folder):
        sys.path.insert(0, folder)
        import pinet_kedro.early
        self.early = pinet_kedro.early

    def predict(self, data, params=None):
        import pinet_kedro.late  # imported while it answers
        return self.early.NAME + pinet_kedro.late.NAME

own_code.load_model = Model
models = [own_code.OwnCode(folder) for folder in sys.argv[2:]]
print(" ".join(models[n].predict([]) for n in (0, 1, 0, 0, 1, 1, 0)))
"""


def test_two_versions_in_one_process_each_run_their_own_code(tmp_path):
    for name in "ab":
        (tmp_path / name / "pinet_kedro").mkdir(parents=True)
        for module in ("__init__", "early", "late"):
            (tmp_path / name / "pinet_kedro" / f"{module}.py").write_text(f"NAME = {name!r}\n")
    place = Path(pinet_kedro.__file__).parent
    command = [sys.executable, "-P", "-c", OWN_CODE, str(place), str(tmp_path / "a"), str(tmp_path / "b")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["aa", "bb", "aa", "aa", "bb", "bb", "aa"], done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": {"champion": 0.9, "challenger": 0.2}}, "serving.split: 2 versions whose shares sum to 1.1"),
        ({"split": {"champion": 0.9}}, "1 versions whose shares sum to 0.9"),
        ({"split": {"a": 0.5, "b": 0.25, "c": 0.25}}, "3 versions"),
        ({"split": {"champion": 1.0, "challenger": 0.0}}, "serving.split.champion = 1.0: must be a number"),
        ({"split": {"a/b": 0.5, "c": 0.5}}, "must be an alias"),
        ({"workers": 10, "log": {"enabled": True}}, "log.files = 20 is too few for workers = 10"),
        ({"log": {"bytes": 10}}, "serving.log.bytes = 10: must be a whole number from 100,000"),
    ],
)
def test_a_sentence_says_what_cannot_be_split_or_logged(settings, words):
    with pytest.raises(InputError, match=words):
        checked(Serving, settings, "serving")


def test_versions_of_a_split_are_aliases_or_numbers():
    assert Serving(split={"champion": 0.9, 4: 0.1}).arms() == {"champion": 0.9, "4": 0.1}
    assert Serving(version=3).arms() == {"3": 1.0}
