"""What a person sees while a model is trained: a bar on a terminal, a line now and then in a log."""

import io

import pytest

from pinet_kedro import progress
from pinet_kedro.tracking import watching
from pinet_kedro.training.backbone import EpochReport


class Terminal(io.StringIO):
    def isatty(self):
        return True


def reports(epochs):
    for epoch in range(1, epochs + 1):
        ndcg = {"all": 0.2, "head": 0.25, "tail": 0.125} if epoch == 2 else {}
        yield EpochReport(epoch, epochs, 4 / epoch, 1.0, None, ndcg)


def watch(name, epochs):
    with watching.watch_training(name) as watch:
        for report in reports(epochs):
            watch(report)
    return watch


@pytest.mark.parametrize(("every_s", "epochs"), [(10.0, [3]), (0.0, [1, 2, 3])])
def test_a_log_has_a_line_in_ten_seconds_and_the_last_epoch(monkeypatch, caplog, every_s, epochs):
    monkeypatch.setattr(watching, "_LOG_EVERY_S", every_s)
    with caplog.at_level("INFO", logger="pinet_kedro"):
        assert watch("pin_refit", 3).curve()["epoch"].tolist() == [1, 2, 3]
    assert [int(line.split("epoch ")[1][0]) for line in caplog.messages] == epochs
    last = "Refit of PIN: epoch 3 of 3, loss 1.333, validation NDCG@10 head 0.2500, tail 0.1250"
    assert caplog.messages[-1] == last


def test_a_terminal_has_a_bar_named_after_what_is_trained(monkeypatch, caplog):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    watch("backbone", 3)
    shown = terminal.getvalue()
    assert "Training by aggregation: 100%" in shown
    assert "validation NDCG@10 head 0.2500, tail 0.1250" in shown
    assert not caplog.messages


def test_what_was_done_has_a_line_of_its_own(caplog):
    with caplog.at_level("INFO", logger="pinet_kedro"), progress.show_progress("Models", 4, "models", 2) as done:
        done(1, "base, seed 1 done")
    assert caplog.messages == ["Models: 3 of 4 models, base, seed 1 done"]


@pytest.mark.parametrize(
    ("unit", "total", "lines"),
    [
        ("users", 5_000_000, ["Working: 2,500,000 of 5,000,000 users", "Working: 5,000,000 of 5,000,000 users"]),
        ("B", 5_000_000, ["Working: 2.5 of 5.0 MB", "Working: 5.0 of 5.0 MB"]),
        ("B", None, ["Working: 2.5 MB", "Working: 5.0 MB"]),
    ],
)
def test_long_work_has_lines_in_a_log_and_a_bar_on_a_terminal(monkeypatch, caplog, capsys, unit, total, lines):
    def work():
        with progress.show_progress("Working", total, unit) as done:
            done(2_500_000)
            done(2_500_000)

    with caplog.at_level("INFO", logger="pinet_kedro"):
        work()
        assert not caplog.messages  # it was over within ten seconds
        monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.0)
        work()
    assert caplog.messages == lines
    assert not capsys.readouterr().err  # a bar would write its line again and again into the log
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    work()
    assert "Working: " in terminal.getvalue()
