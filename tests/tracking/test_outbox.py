import logging

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from pinet_kedro.tracking import outbox as module
from pinet_kedro.tracking.outbox import Outbox


class Server:
    """Takes calls while it is up."""

    def __init__(self):
        self.up, self.asked, self.taken = True, 0, []

    def call(self, what):
        def ask():
            self.asked += 1
            if not self.up:
                raise MlflowException("API request to http://host/api failed with exception: down")
            self.taken.append(what)

        return ask


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def outbox():
    return Outbox("http://host")


def test_nothing_is_lost_and_nothing_overtakes_when_the_server_comes_back(server, outbox, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="pinet_kedro")
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    outbox.send("epoch", server.call(1))
    server.up = False
    outbox.send("epoch", server.call(2))
    outbox.send("epoch", server.call(3))
    assert outbox.left() == "2 × epoch"
    server.up = True
    outbox.send("report", server.call(4))
    assert server.taken == [1, 2, 3, 4]
    assert outbox.left() == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_server_that_is_down_is_not_asked_at_every_epoch(server, outbox):
    server.up = False
    for epoch in range(100):
        outbox.send("epoch", server.call(epoch))
    assert server.asked == 1


def test_what_the_server_refuses_is_said_and_holds_up_nothing(server, outbox, caplog):
    def refused():
        raise MlflowException("no such name", error_code=INVALID_PARAMETER_VALUE)

    outbox.send("wrong", refused)
    outbox.send("right", server.call(1))
    assert server.taken == [1]
    assert outbox.left() == "wrong"
    assert "no such name" in caplog.text


def test_after_a_refusal_it_does_not_say_that_nothing_is_lost(server, outbox, monkeypatch, caplog):
    def deleted():
        if not server.up:
            raise MlflowException("API request to http://host/api failed with exception: down")
        raise MlflowException("Run 'abc' not found", error_code=INVALID_PARAMETER_VALUE)

    caplog.set_level(logging.INFO, logger="pinet_kedro")
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    server.up = False
    outbox.send("epoch", deleted)
    server.up = True
    outbox.flush()
    assert outbox.left() == "epoch"
    assert "answers again." in caplog.text
    assert "nothing is lost" not in caplog.text


def test_a_defect_of_ours_is_raised(outbox):
    with pytest.raises(TypeError):
        outbox.send("defect", lambda: len(None))
    outbox.flush()
