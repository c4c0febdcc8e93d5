"""What a run records on its tracking server: epochs, the evaluation, pages, figures, and how it ended.

Nothing is recorded where the run is None, and a server that is away stops nothing: what it does not take waits in the
outbox that this process has for the run.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinet_kedro.parameters import flat
from pinet_kedro.tracking.outbox import Outbox
from pinet_kedro.tracking.run_info import MlflowRun, RunInfo
from pinet_kedro.tracking.server import public

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from plotly.graph_objects import Figure

    from pinet_kedro.training.backbone import EpochReport

log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """What this process still has to send of a run."""

    outbox: Outbox
    figures: dict[str, "Figure"] = field(default_factory=dict)


_open: dict[str, _Waiting] = {}  # by run id; a run that has ended is not in it


def _waiting(run: MlflowRun) -> _Waiting:
    return _open.setdefault(run.run_id, _Waiting(Outbox(public(run.uri))))


def send(run: MlflowRun, name: str, call: "Callable[[MlflowClient], object]", at_once: bool = True) -> None:
    """Makes a call to the run's server, now or when it answers again; `name` is for what is left in the end."""
    from mlflow import MlflowClient

    outbox = _waiting(run).outbox
    (outbox.send if at_once else outbox.put)(name, lambda: call(MlflowClient(run.uri)))


def log_epoch(run: MlflowRun | None, model: str, report: "EpochReport") -> None:
    """Records loss, validation NDCG and strata weights of one epoch, as steps of metrics named `<model>.…`."""
    if run is None:
        return
    from mlflow.entities import Metric

    metrics = [Metric(f"{model}.{key}", value, 0, report.epoch) for key, value in report.row().items()]
    send(run, f"epoch of {model}", lambda client: client.log_batch(run.run_id, metrics=metrics))


def log_evaluation(run: MlflowRun, evaluation: dict[str, Any]) -> None:
    """Records every metric by model and group, the gains with their intervals, and the hash of the data."""
    from mlflow.entities import RunTag

    metrics = metrics_of(evaluation)
    tags = [RunTag("data.sha256", evaluation["data"]["sha256"])]
    send(run, "evaluation", lambda client: client.log_batch(run.run_id, metrics=metrics, tags=tags))
    send(run, "evaluation.json", lambda client: client.log_dict(run.run_id, evaluation, "evaluation.json"))


def metrics_of(evaluation: dict[str, Any], model_id: str | None = None) -> "list[Metric]":
    """Every number of an evaluation as a metric of a run, and with `model_id` of a model that MLflow has logged."""
    from mlflow.entities import Metric

    # Intervals may be undefined (None), and are then no metric.
    shipped = evaluation.get("as_shipped") or {"models": {}, "comparisons": {}}
    numbers = flat(
        {
            "test": evaluation["models"],
            "gain": evaluation["comparisons"],
            "as_shipped": {"test": shipped["models"], "gain": shipped["comparisons"]},
        }
    )
    return [Metric(key, value, 0, 0, model_id=model_id) for key, value in numbers.items() if value is not None]


def log_page(run: MlflowRun, name: str, page: str) -> None:
    """Records an HTML page, such as the report."""
    send(run, name, lambda client: client.log_text(run.run_id, page, f"{name}.html"))


def log_figure(run: MlflowRun, name: str, figure: "Figure") -> None:
    """Keeps a plotly figure for the page of figures that the end of the run sends.

    One page for all of them: each would carry the 4.5 MB of plotly's script.
    """
    _waiting(run).figures[name] = figure


def begin_run(run: MlflowRun) -> None:
    """Makes the run one that `end_run` closes."""
    _waiting(run)


def end_run(info: RunInfo, status: str, reason: str | None = None) -> None:
    """Closes the run as FINISHED, FAILED or KILLED, with the reason of a failure as a tag; once, whoever asks again.

    Warns of what could not be recorded, if anything.
    """
    run = info.mlflow
    if run is None or (waiting := _open.get(run.run_id)) is None:
        return
    if waiting.figures:
        from pinet_kedro.reporting.page import render_figures

        page = render_figures(f"Figures of run {run.run_id}", waiting.figures)
        send(run, "figures", lambda client: client.log_text(run.run_id, page, "figures/index.html"), at_once=False)
    if reason:
        tag = reason[:4000]
        send(run, "reason of the failure", lambda client: client.set_tag(run.run_id, "failure", tag), at_once=False)
    send(run, "end of the run", lambda client: client.set_terminated(run.run_id, status), at_once=False)
    del _open[run.run_id]
    waiting.outbox.flush()
    if left := waiting.outbox.left():
        log.warning(
            "Not recorded by the tracking server %s: %s. All results are in data/. When it answers again, "
            "'%s' records the evaluation and registers the model.", public(run.uri), left, info.registration,
        )  # fmt: skip
