"""The guard around MLflow's own application, without a network."""

import asyncio
import json
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, scoring_server

from pinet_kedro.operations.inference.config import Limits
from pinet_kedro.operations.inference.scoring_server import Guard, Together


class Model1:
    """Fails as asked."""

    def __init__(self, error):
        self.error = error

    def predict(self, data, params=None):
        raise self.error


def ask(error, body=b'{"inputs": [{"history": ["1"]}]}', chunks=1):
    """Status and answer of a server whose model raises this."""
    app = Guard(scoring_server.init(PyFuncModel(Model(), Model1(error))), SimpleNamespace(**Limits().model_dump()))
    size = -(-len(body) // chunks)
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    received = [{"type": "http.request", "body": p, "more_body": i + 1 < len(parts)} for i, p in enumerate(parts)]
    sent = []

    async def receive():
        return received.pop(0) if received else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http", "method": "POST", "path": "/invocations", "raw_path": b"/invocations", "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "", "app": None,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


def test_a_failing_model_is_the_servers_fault_and_its_traceback_stays_in_the_log(caplog):
    status, answer = ask(ZeroDivisionError("secret detail"))
    assert status == 500
    assert answer["error_code"] == "INTERNAL_ERROR"
    assert "secret" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)
    assert "secret detail" in caplog.text


def test_what_the_model_refuses_is_the_clients_fault():
    status, answer = ask(mlflow.MlflowException.invalid_parameter_value("k must be at least 1, got 0"))
    assert status == 400
    assert "k must be at least 1" in answer["message"]
    assert list(answer) == ["error_code", "message"]


@pytest.mark.parametrize("chunks", [1, 7])
def test_a_body_in_parts_is_put_together_and_limited_as_a_whole(chunks):
    assert ask(ZeroDivisionError(), chunks=chunks)[0] == 500  # the model was asked
    assert ask(ZeroDivisionError(), b"x" * 1_000_001, chunks)[0] == 413


def ask_together(requests, rows=100):
    """Answers to requests that arrive at once, and the rows that the model was asked for at a time."""
    asked = []

    async def app(scope, receive, send):
        body = json.loads((await receive())["body"])
        asked.append(body)
        await asyncio.sleep(0)
        histories = [row["history"] for row in body["inputs"]]
        if ["crash"] in histories:
            raise RuntimeError("down")
        status = 400 if ["bad"] in histories else 200
        told = {"predictions": body["inputs"]} if status == 200 else {"error_code": "BAD", "message": "bad"}
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    async def main():
        together = Together(app, rows)
        return await asyncio.gather(*(together.ask({"headers": []}, request) for request in requests))

    return [(status, json.loads(body)) for status, body in asyncio.run(main())], asked


def request(*items, **params):
    return {"inputs": [{"history": [item]} for item in items]} | ({"params": params} if params else {})


def test_requests_at_once_are_put_together_and_each_gets_its_own_answer():
    answers, asked = ask_together([request("a"), request("b", "c", k=3), request("d")])
    assert [len(body["inputs"]) for body in asked] == [4]
    assert answers == [
        (200, {"predictions": [{"history": ["a"]}]}),
        (200, {"predictions": [{"history": ["b"], "k": 3}, {"history": ["c"], "k": 3}]}),
        (200, {"predictions": [{"history": ["d"]}]}),
    ]


def test_only_what_goes_together_and_within_the_limit_is_put_together():
    _, asked = ask_together([request("a"), request("b", exclude_seen=False), request("c", exclude_seen=False)])
    assert [len(body["inputs"]) for body in asked] == [1, 2]
    _, asked = ask_together([request("a", "b"), request("c", "d"), request("e", "f", "g", "h"), request("i")], rows=3)
    assert [len(body["inputs"]) for body in asked] == [2, 2, 4, 1]


@pytest.mark.parametrize(("item", "status"), [("bad", 400), ("crash", 500)])
def test_one_that_fails_fails_alone(item, status):
    answers, _ = ask_together([request("a"), request(item), request("b")])
    assert [found for found, _ in answers] == [200, status, 200]
