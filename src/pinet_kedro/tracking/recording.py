"""What a run records on its tracking server: epochs, the evaluation, pages, figures, and how it ended.

Nothing is recorded where the run is None, and a server that is away stops nothing: what it does not take waits in the
outbox that this process has for the run.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinet_kedro.printable import public
from pinet_kedro.tracking.outbox import Outbox
from pinet_kedro.tracking.run_info import MlflowRun, RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from plotly.graph_objects import Figure

    from pinet_kedro.training.backbone import EpochReport

log = logging.getLogger(__name__)

NOTE = "mlflow.note.content"  # MLflow's tag for a description, in Markdown
_GROUPS = ("all", "tail", "head")


@dataclass
class _Waiting:
    """What this process still has to send of a run."""

    outbox: Outbox
    figures: dict[str, "Figure"] = field(default_factory=dict)
    pages: bool = False  # whether a page was recorded


_open: dict[str, _Waiting] = {}  # by run id; a run that has ended is not in it


def _waiting(run: MlflowRun) -> _Waiting:
    return _open.setdefault(run.run_id, _Waiting(Outbox(public(run.uri))))


def send(run: MlflowRun, name: str, call: "Callable[[MlflowClient], object]", at_once: bool = True) -> None:
    """Makes a call to the run's server, now or when it answers again; `name` is for what is left in the end."""
    from mlflow import MlflowClient

    outbox = _waiting(run).outbox
    (outbox.send if at_once else outbox.put)(name, lambda: call(MlflowClient(run.uri)))


def log_epoch(run: MlflowRun | None, model: str, report: "EpochReport") -> None:
    """Records training loss and validation NDCG of one epoch, the only metrics that are curves (step = epoch)."""
    if run is None:
        return
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    curves = {"loss": report.loss} | {f"validation_ndcg_at_10_{of}": value for of, value in report.valid_ndcg.items()}
    metrics = [Metric(f"training/{model}/{key}", value, now, report.epoch) for key, value in curves.items()]
    send(run, f"epoch of {model}", lambda client: client.log_batch(run.run_id, metrics=metrics))


def log_evaluation(run: MlflowRun, evaluation: dict[str, Any]) -> None:
    """Records the final metrics (`metrics_of`), the whole evaluation as a file, its result in words, and its data."""
    from mlflow.entities import RunTag

    from pinet_kedro.reporting.statements import summary_lines

    metrics = metrics_of(evaluation)
    note = "\n".join(f"- {line}" for line in summary_lines(evaluation))
    tags = [RunTag("data.sha256", evaluation["data"]["sha256"]), RunTag(NOTE, note[:5000])]
    send(run, "evaluation", lambda client: client.log_batch(run.run_id, metrics=metrics, tags=tags))
    send(run, "evaluation.json", lambda client: client.log_dict(run.run_id, evaluation, "evaluation.json"))
    log_inputs(run, evaluation["data"])


def metrics_of(evaluation: dict[str, Any], model_id: str | None = None) -> "list[Metric]":
    """What a person reads of an evaluation, as metrics of a run, and with `model_id` of a model that MLflow has logged.

    That is every metric of base and PIN, NDCG@10 and HR@10 of the other models, and the gains of PIN over the base, for
    all, tail and head users; with `model_id` those of PIN; as published and as shipped. `evaluation.json` has all.
    """
    from mlflow.entities import Metric

    numbers: dict[str, float | None] = {}
    for prefix, reading in (("", evaluation), ("as_shipped/", evaluation.get("as_shipped"))):
        for model, groups in (reading["models"] if reading else {}).items():
            numbers |= {
                f"{prefix}{metric}/{group}/{model}": groups[group].get(metric)
                for group in _GROUPS
                if group in groups and (model_id is None or model == "pin")
                for metric in (groups[group] if model in ("base", "pin") else ("ndcg_at_10", "hr_at_10"))
                if metric != "users"
            }
        for group, of in (reading["comparisons"].get("pin_vs_base", {}) if reading else {}).items():
            numbers |= _gain(f"{prefix}gain_over_base/{group}", of["ndcg_at_10"])
    # Intervals may be undefined (None), and are then no metric.
    return [Metric(key, value, 0, 0, model_id=model_id) for key, value in numbers.items() if value is not None]


def _gain(name: str, gain: dict[str, float | None]) -> dict[str, float | None]:
    return {name: gain.get("relative"), f"{name}_low": gain.get("low"), f"{name}_high": gain.get("high")}


def log_inputs(run: MlflowRun, data: dict[str, Any], parts: tuple[str, ...] = ("training", "test")) -> None:
    """Records parts of the data of an evaluation or decision as inputs of the run, by their hash; reads no data."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, source = str(data.get("name", "dataset")), json.dumps({"uri": data.get("name", "")})
    numbers = json.dumps({key: value for key, value in data.items() if isinstance(value, int)})
    # MLflow takes 36 characters of a digest, and each data set of a name and digest once a run.
    inputs = [
        DatasetInput(
            Dataset(f"{name[:480]}: {part}", data["sha256"][:12], "local", source, profile=numbers),
            [InputTag("mlflow.data.context", part)],
        )
        for part in parts
    ]
    send(run, "inputs", lambda client: client.log_inputs(run.run_id, inputs))


def log_decision(info: RunInfo, decision: dict[str, Any]) -> None:
    """Records a decision on a version: gains by group of users, the number of gates by verdict, and a telling name."""
    from mlflow.entities import Metric

    if (run := info.mlflow) is None:
        return
    verdicts = Counter(
        "not_measured" if gate["unmeasured"] else "passed" if gate["passed"] else "failed" for gate in decision["gates"]
    )
    numbers: dict[str, float | None] = {f"gates/{verdict}": float(n) for verdict, n in verdicts.items()}
    for group, values in decision["groups"].items():
        numbers |= _gain(f"gain/{group}", values["gain"])
    metrics = [Metric(key, value, 0, 0) for key, value in numbers.items() if value is not None]
    outcome = "rolled back" if decision["restored"] else "promoted" if decision["promoted"] else "refused"
    name = f"version {decision['version']} {outcome} · {info.name or info.pipeline}"  # lists of runs cut long names
    send(run, "decision", lambda client: client.log_batch(run.run_id, metrics=metrics))
    send(run, "name of the run", lambda client: client.set_tag(run.run_id, "mlflow.runName", name))
    if decision["data"]:  # a rollback compares nothing
        log_inputs(run, decision["data"], ("test",))


def log_page(run: MlflowRun, name: str, page: str) -> None:
    """Records an HTML page, such as the report, with the figures that are in it."""
    _log_html(run, f"{name}.html", page)
    _waiting(run).pages = True


def log_data_docs(run: MlflowRun, folder: Path) -> None:
    """Records the pages of the data gates, beside the run's other pages, which link to them."""
    for path in sorted(folder.rglob("*.html")):
        _log_html(run, path.relative_to(folder.parent).as_posix(), path.read_text(encoding="utf-8"))


def _log_html(run: MlflowRun, place: str, page: str) -> None:
    from pinet_kedro.reporting.page import without_home

    alone = without_home(page)
    send(run, place, lambda client: client.log_text(run.run_id, alone, place))


def log_figure(run: MlflowRun, name: str, figure: "Figure") -> None:
    """Keeps a plotly figure for the page of figures that the end of a run without another page sends.

    One page for all of them: each would carry the 1.1 MB of plotly's script.
    """
    _waiting(run).figures[name] = figure


def begin_run(run: MlflowRun) -> None:
    """Makes the run one that `end_run` closes."""
    _waiting(run)


def end_run(info: RunInfo, status: str, reason: str | None = None) -> None:
    """Closes the run as FINISHED, FAILED or KILLED; once, whoever asks again.

    The reason is a tag of a failure, and the description of a run that had nothing to do. Warns of what could not be
    recorded, if anything.
    """
    run = info.mlflow
    if run is None or (waiting := _open.get(run.run_id)) is None:
        return
    if waiting.figures and not waiting.pages:
        from pinet_kedro.reporting.page import render_figures

        page = render_figures(f"Figures of run {run.run_id}", waiting.figures)
        send(run, "figures", lambda client: client.log_text(run.run_id, page, "figures/index.html"), at_once=False)
    if reason:
        key, tag = (NOTE if status == "FINISHED" else "failure"), public(reason)[:4000]
        send(run, "reason of the failure", lambda client: client.set_tag(run.run_id, key, tag), at_once=False)
    send(run, "end of the run", lambda client: client.set_terminated(run.run_id, status), at_once=False)
    del _open[run.run_id]
    waiting.outbox.flush()
    if left := waiting.outbox.left():
        log.warning(
            "Not recorded by the tracking server %s: %s. All results are in data/. When it answers again, "
            "'%s' records the evaluation and registers the model.", public(run.uri), left, info.registration,
        )  # fmt: skip
