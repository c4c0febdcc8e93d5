"""The guard around MLflow's own application, without a network."""

import ast
import asyncio
import contextlib
import json
import socket
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import uvicorn
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, scoring_server

from pinet_kedro.scoring_server import __main__
from pinet_kedro.scoring_server.batching import Batcher
from pinet_kedro.scoring_server.guard import Guard
from pinet_kedro.scoring_server.metrics import Metrics
from pinet_kedro.scoring_server.protocol import bounded
from pinet_kedro.serving.config import Limits, Serving

COUNTS = tempfile.TemporaryDirectory()


def test_the_program_imports_nothing_of_the_project():
    """Otherwise the version's own copy of the package would not be loaded."""
    for path in Path(__main__.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, path
                names.append(node.module or "")
            assert not any(name.startswith("pinet_kedro") for name in names), path


class Model1:
    """Fails as asked."""

    def __init__(self, error):
        self.error = error

    def predict(self, data, params=None):
        raise self.error


def guarded(app, hosts, known=None, **limits):
    found = SimpleNamespace(**Limits(**limits).model_dump())
    metrics = Metrics(Path(COUNTS.name, "1-0.counts"), ["1"])
    return Guard(app, found, hosts, Batcher(app, found.rows).ask, metrics, {"1": known})


def ask(error, body=b'{"inputs": [{"history": ["1"]}]}', chunks=1):
    """Status and answer of a server whose model raises this."""
    app = guarded(scoring_server.init(PyFuncModel(Model(), Model1(error))), ["127.0.0.1"])
    size = -(-len(body) // chunks)
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    received = [{"type": "http.request", "body": p, "more_body": i + 1 < len(parts)} for i, p in enumerate(parts)]
    sent = []

    async def receive():
        return received.pop(0) if received else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    headers = [
        (b"host", b"127.0.0.1:80"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
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
    """In one sentence: the request is not repeated in it, which could be longer than the rest."""
    body = json.dumps({"inputs": [{"history": ["an item"] * 500 + ["\nError: no"]}]}).encode()
    for given in ({}, {"body": body}):
        status, answer = ask(mlflow.MlflowException.invalid_parameter_value("k must be at least 1, got 0"), **given)
        assert status == 400
        assert answer == {"error_code": "INVALID_PARAMETER_VALUE", "message": "k must be at least 1, got 0"}


@pytest.mark.parametrize("chunks", [1, 7])
def test_a_body_in_parts_is_put_together_and_limited_as_a_whole(chunks):
    assert ask(ZeroDivisionError(), chunks=chunks)[0] == 500  # the model was asked
    assert ask(ZeroDivisionError(), b"x" * 1_000_001, chunks)[0] == 413


def ask_together(requests, rows=100, known=None):
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
        answer = {"predictions": body["inputs"]} if status == 200 else {"error_code": "BAD", "message": "bad"}
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def main():
        batcher = Batcher(app, rows, known)
        return await asyncio.gather(*(batcher.ask({"headers": []}, request) for request in requests))

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


EARLIER = {"inputs": frozenset({"history", "k"}), "params": frozenset({"k", "exclude_seen"})}


def test_a_field_that_an_earlier_version_does_not_know_is_refused_and_disturbs_no_other_request():
    """Ignored, an allow-list would be a wrong answer."""
    new = {"inputs": [{"history": ["b"], "only": ["c"]}]}
    answers, asked = ask_together([request("a"), new, request("d")], known=EARLIER)
    assert [status for status, _ in answers] == [200, 400, 200]
    assert answers[1][1]["message"].startswith("inputs.only: the version that answers does not know this field")
    assert [len(body["inputs"]) for body in asked] == [2]
    assert ask_together([new], known=EARLIER | {"inputs": frozenset({"history", "only"})})[0][0][0] == 200
    [(status, answer)], asked = ask_together([request("a", explain=True)], known=EARLIER)
    assert (status, answer["message"].split(":")[0], asked) == (400, "params.explain", [])


def test_explained_requests_are_not_put_together():
    _, asked = ask_together([request("a"), request("b", explain=True), request("c", explain=True), request("d")])
    assert [len(body["inputs"]) for body in asked] == [1, 1, 1, 1]
    assert [body.get("params", {}).get("explain", False) for body in asked] == [False, True, True, False]


@contextlib.contextmanager
def serving(hosts=("127.0.0.1",), **limits):
    """Port of a server with these limits; its model answers with the rows that it is asked for."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        rows = json.loads((await receive())["body"] or "{}").get("inputs")
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(reply(rows)))]}
        )
        await send({"type": "http.response.body", "body": reply(rows)})

    def reply(rows):
        return json.dumps({"predictions": rows}).encode()

    guard = guarded(app, list(hosts), **limits)
    server = uvicorn.Server(bounded(guard, lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


GOOD = b'{"inputs": [{"history": ["1"]}]}'


def head(*lines, path="/invocations", host="Host: 127.0.0.1", kind="Content-Type: application/json", length=None):
    given = [f"POST {path} HTTP/1.1", host, kind, *lines, f"Content-Length: {len(GOOD) if length is None else length}"]
    return "\r\n".join(line for line in given if line).encode() + b"\r\n\r\n"


def send(port, data):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(data)
    return connection


def answer_on(connection):
    """Status and sentence, or None where the connection was closed without an answer."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while not found.endswith(b"}") and (part := connection.recv(65536)):
            found += part
    if not found:
        return None
    return int(found.split(b" ")[1]), json.loads(found.partition(b"\r\n\r\n")[2]).get("message")


def answer_to(port, data):
    with send(port, data) as connection:
        return answer_on(connection)


@pytest.mark.parametrize("first", [b"", head()[:40], head(), head() + GOOD[:1]])
def test_silent_connections_lock_nobody_out(first):
    with serving(connections=5) as port, contextlib.ExitStack() as stack:
        held = [stack.enter_context(send(port, first)) for _ in range(12)]
        assert [answer_to(port, head() + GOOD) for _ in range(3)] == [(200, None)] * 3
        assert answer_on(held[0]) is None  # the longest waiting made room


def test_a_request_that_is_never_complete_ends_at_the_deadline():
    with serving(head_seconds=0.3, body_seconds=0.3) as port:
        assert answer_to(port, b"") is None
        assert answer_to(port, head()[:40])[0] == 408
        assert answer_to(port, head() + GOOD[:1])[0] == 408


@pytest.mark.parametrize("first", [head()[:20], head(length=10_000)])
def test_a_byte_now_and_then_does_not_move_the_deadline(first):
    with serving(head_seconds=0.5, body_seconds=0.5) as port, send(port, first) as connection:
        connection.settimeout(0.05)
        sent = 0
        while sent < 200:
            connection.sendall(b"x")
            sent += 1
            try:
                assert b" 408 " in connection.recv(1000)
                break
            except TimeoutError:
                continue
        assert sent < 200


def test_a_connection_without_requests_is_closed_after_a_time():
    with serving(idle_seconds=0.3) as port, send(port, head() + GOOD) as connection:
        assert answer_on(connection) == (200, None)
        assert answer_on(connection) is None


def test_requests_in_a_row_on_one_connection_are_answered():
    with serving() as port, send(port, 3 * (head() + GOOD)) as connection:
        found = b""
        while found.count(b"predictions") < 3:
            found += connection.recv(65536)
        connection.sendall(head() + GOOD)
        assert answer_on(connection) == (200, None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("Host: 127.0.0.1:5001", 200), ("host: LOCALHOST", 200), ("Host: localhost.:80", 200), ("Host: [::1]:80", 200),
        ("Host: evil.example", 421), ("Host: localhost.evil.example", 421), ("Host: 0.0.0.0", 421),
        (None, 400), ("Host:", 400), ("Host: a b", 400), ("Host: user@localhost", 400), ("Host: localhost:x", 400),
        ("Host: localhost\r\nHost: localhost", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/invocations", "/ping"])
def test_only_requests_for_its_own_names_are_answered(names, host, status, path):
    found = answer_to(names, head(path=path, host=host) + GOOD)
    assert found[0] == (405 if path == "/ping" and status == 200 else status)
    assert status != 421 or "serving.hosts" in found[1]


@pytest.fixture(scope="module")
def names():
    with serving(hosts=Serving().allowed_hosts()) as port:
        yield port


def test_the_configured_host_is_among_the_names_unless_it_is_every_address():
    assert "rec.example" in Serving(host="Rec.example").allowed_hosts()
    assert "[fe80::1]" in Serving(host="fe80::1").allowed_hosts()
    everywhere = Serving(host="0.0.0.0")
    assert everywhere.reaches_only_itself()
    assert everywhere.allowed_hosts() == list(Serving().hosts)
    assert not Serving(host="0.0.0.0", hosts=("rec.example",)).reaches_only_itself()
    with pytest.raises(ValueError, match="'http://x' is no host"):
        Serving(hosts=("http://x",))


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("Application/JSON", GOOD, 200, None),
        ('application/json; charset="UTF-8"; v=1', GOOD, 200, None),
        ("application/json", b"\xef\xbb\xbf" + GOOD, 200, None),
        ("application/json; charset=utf-16", GOOD, 415, "UTF-8, not utf-16"),
        ("application/jsonp", GOOD, 415, "must be application/json"),
        ("application/json\r\nContent-Type: text/csv", GOOD, 400, "more than one header Content-Type"),
        ("application/json\r\nContent-Encoding: gzip", GOOD, 415, "not be compressed"),
        ("application/json", GOOD.decode().encode("utf-16"), 400, "UTF-8"),
        ("application/json", GOOD.decode().encode("utf-32-le"), 400, "not valid JSON"),
        ("application/json", b'{"inputs": [], "inputs": [{"history": ["1"]}]}', 400, "same name twice"),
        ("application/json", b'{"inputs": [{"history": ["1"], "k": NaN}]}', 400, "NaN is no number"),
        ("application/json", b'{"inputs": [{"history": ["1"], "k": 1e999}]}', 400, "inputs.0.k"),
        ("application/json", b'{"inputs": [{"history": ["\\ud800"]}]}', 400, "inputs.0.history.0"),
    ],
)
def test_a_body_is_json_in_utf_8_and_nothing_else(names, kind, body, status, words):
    found = answer_to(names, head(kind=f"Content-Type: {kind}", length=len(body)) + body)
    assert found[0] == status
    assert (words or "") in (found[1] or "")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
        (head("X: " + "x" * 20_000), 431),
        (head(*[f"X{n}: 1" for n in range(5000)]), 431),
        (head("Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (head(length=10**12), 413),
        (head(path="/docs"), 405),
        (head(path="http://127.0.0.1/ping"), 404),
    ],
)
def test_what_is_no_request_for_this_server_gets_a_sentence(names, data, status):
    found = answer_to(names, data)
    assert found[0] == status
    assert found[1]
    assert answer_to(names, head() + GOOD) == (200, None)
