"""One MLflow run for one `kedro run`. MLflow is imported only when a run is tracked: it takes 2 s."""

import atexit
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat, plain
from pinet_kedro.processes.identity import is_gone, this_process
from pinet_kedro.project import project_folder
from pinet_kedro.provenance import git_state, versions
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.outbox import Outbox
from pinet_kedro.tracking.server import public, sentence
from pinet_kedro.tracking.store import (
    FILE,
    address,
    check_address,
    check_artifacts,
    check_database,
    check_environment,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from plotly.graph_objects import Figure

    from pinet_kedro.training.backbone import EpochReport

log = logging.getLogger(__name__)

_PROCESS = "process."  # prefix of the tags that say which process a run belongs to


class _Run:
    def __init__(
        self, client: "MlflowClient", run_id: str, experiment_id: str, config: Tracking, environment: str
    ) -> None:
        self.client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.config = config
        self.environment = environment
        self.uri = public(config.uri)
        self.outbox = Outbox(self.uri)
        self.figures: dict[str, Figure] = {}
        self.register = f"kedro run --pipeline=registration --env={environment}"


# The run of this process. MLflow's own active run belongs to a thread, and nodes may run in others.
_current: _Run | None = None


def start_run(config: Tracking, parameters: dict[str, Any], tags: dict[str, str]) -> str:
    """Id of a new run that holds the flat parameters, git state and versions.

    Raises `InputError` where the server does not answer, or cannot keep what the run will make: better no run than one
    that finds out after hours.
    """
    global _current
    from mlflow.entities import Param, RunTag

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # one line for every attempt; ours is one for all
    check_environment(config, run=True)
    client = connect(config, write=True)
    recorded = {**tags, "git": git_state(), **{f"version.{name}": v for name, v in versions().items()}}
    recorded |= _process_tags()
    nothing = (
        "Nothing has been run. Start it, or name another one as tracking.uri (conf/base/parameters_registration.yml)."
    )
    with sentence(config.uri, nothing):
        experiment_id = _experiment(client, config)
        check_artifacts(client.get_experiment(experiment_id).artifact_location)
        _end_the_dead(client, experiment_id)
        run = client.create_run(experiment_id, run_name=tags.get("pipeline"))
        client.log_batch(
            run.info.run_id,
            params=[Param(key, public(str(value))) for key, value in flat(plain(parameters)).items()],
            tags=[RunTag(key, value) for key, value in recorded.items()],
        )
    _current = _Run(client, run.info.run_id, experiment_id, config, tags.get("environment", "local"))
    # Ctrl-C, and SIGTERM made like it; does nothing when the run has ended before. An exit code of 143 says SIGTERM.
    atexit.register(end_run, "KILLED")
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    return run.info.run_id


def _process_tags() -> dict[str, str]:
    """Which process a run belongs to, for `_end_the_dead`."""
    return {_PROCESS + key: value for key, value in this_process().items()}


def _experiment(client: "MlflowClient", config: Tracking) -> str:
    if experiment := client.get_experiment_by_name(config.experiment):
        if experiment.lifecycle_stage == "deleted":
            raise InputError(
                f"the experiment '{config.experiment}' has been deleted. Restore it (mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}), or name another one: --params=tracking.experiment=…"
            )
        return experiment.experiment_id
    # A server knows where artifacts go; beside a database file they go into the project too.
    local = (project_folder() / "mlartifacts").as_uri() if config.uri.startswith(FILE) else None
    return client.create_experiment(config.experiment, artifact_location=local)


def _end_the_dead(client: "MlflowClient", experiment_id: str) -> None:
    """Closes as FAILED the runs of this machine whose process has ended without closing them (`kill -9`, power)."""
    host = this_process()["host"]
    mine = f"attributes.status = 'RUNNING' and tags.`{_PROCESS}host` = '{host}'"
    for run in client.search_runs([experiment_id], filter_string=mine):
        if is_gone({key: run.data.tags[_PROCESS + key] for key in this_process()}):
            client.set_tag(run.info.run_id, "failure", "the process ended without closing the run")
            client.set_terminated(run.info.run_id, "FAILED")


def end_the_dead() -> None:
    """Closes what processes of this machine have left open in the experiment of the current run."""
    if (run := _current) is not None:
        run.outbox.send("end of what has died", lambda: _end_the_dead(run.client, run.experiment_id))


def connect(config: Tracking, write: bool = False) -> "MlflowClient":
    """A client of the configured server, which is MLflow's own from now on, for versions as for runs.

    Raises `InputError` where the environment asks for another one, or a database file cannot be read, or written if
    that is meant.
    """
    check_environment(config, run=False)
    check_address(config.uri)
    check_database(config.uri, write)
    import mlflow

    uri = address(config.uri)
    given = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    # MLflow sets the variable too. It is the user's: the next run of this process may have another configuration.
    if given is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = given
    return mlflow.MlflowClient(uri, registry_uri=uri)


def run_id() -> str | None:
    """Id of the run of this process, if one is tracked."""
    return _current.run_id if _current else None


def environment() -> str | None:
    """Name of the Kedro environment of the run of this process, if one is tracked."""
    return _current.environment if _current else None


@dataclass(frozen=True)
class Nested:
    """Where runs inside the run of this process belong; may be handed to other processes."""

    uri: str
    experiment_id: str
    parent: str

    def run(self, name: str) -> "NestedRun":
        return NestedRun(self, name)


def nested() -> Nested | None:
    """Where runs inside the run of this process belong, if one is tracked."""
    if (run := _current) is None:
        return None
    return Nested(address(run.config.uri), run.experiment_id, run.run_id)


_outboxes: dict[str, Outbox] = {}  # one for all nested runs of a process: what is away is away for all of them


class NestedRun:
    """A run inside another one, which may be that of another process.

    Everything is sent through an outbox, the run's creation too: a server that is away holds up nothing, and what it
    did not take is sent with what follows. The run carries its process, so that one which dies is closed by the next.
    """

    def __init__(self, nested: Nested, name: str) -> None:
        from mlflow import MlflowClient

        self._nested, self._name, self._id = nested, name, ""
        self._client = MlflowClient(nested.uri)
        self._outbox = _outboxes.setdefault(nested.uri, Outbox(public(nested.uri)))

    def start(self, tags: dict[str, str], parameters: dict[str, Any]) -> None:
        """Opens the run, with these tags and parameters."""
        from mlflow.entities import Param
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        began = int(time.time() * 1000)
        all_tags = {MLFLOW_PARENT_RUN_ID: self._nested.parent, **tags}
        all_tags |= _process_tags()
        told = [Param(key, str(value)) for key, value in parameters.items()]

        def create() -> None:
            run = self._client.create_run(self._nested.experiment_id, began, all_tags, self._name)
            self._id = run.info.run_id

        self._outbox.send(self._name, create)
        self._send(lambda: self._client.log_batch(self._id, params=told))

    def log(self, metrics: "list[Metric]") -> None:
        """Metrics of the run."""
        self._send(lambda: self._client.log_batch(self._id, metrics=metrics))

    def end(self, status: str, tags: dict[str, str]) -> None:
        """Closes the run."""
        from mlflow.entities import RunTag

        told = [RunTag(key, value[:4000]) for key, value in tags.items()]
        ended = int(time.time() * 1000)
        self._send(lambda: self._client.log_batch(self._id, tags=told))
        self._send(lambda: self._client.set_terminated(self._id, status, ended))

    def _send(self, call: Callable[[], object]) -> None:
        # Without a run, which the server has refused, there is nothing to log to.
        self._outbox.send(self._name, lambda: call() if self._id else None)


def close_nested() -> None:
    """Sends what still waits of the nested runs of this process, and says what could not be recorded."""
    for uri, outbox in _outboxes.items():
        outbox.flush()
        if left := outbox.left():
            log.warning("Not recorded by the tracking server %s: %s.", public(uri), left)
    _outboxes.clear()


def register_later() -> str:
    """The command that registers the stored model of the run of this process once more."""
    return _current.register if _current else "kedro run --pipeline=registration"


def end_run(status: str, reason: str | None = None) -> None:
    """Closes the run as FINISHED, FAILED or KILLED, with the reason of a failure as a tag.

    Says what could not be recorded, if anything.
    """
    global _current
    if _current is None:
        return
    run, _current = _current, None
    if run.figures:
        from pinet_kedro.reporting.page import render_figures

        page = render_figures(f"Figures of run {run.run_id}", run.figures)
        run.outbox.put("figures", lambda: run.client.log_text(run.run_id, page, "figures/index.html"))
    if reason:
        run.outbox.put("reason of the failure", lambda: run.client.set_tag(run.run_id, "failure", reason[:4000]))
    run.outbox.put("end of the run", lambda: run.client.set_terminated(run.run_id, status))
    run.outbox.flush()
    if left := run.outbox.left():
        log.warning(
            "Not recorded by the tracking server %s: %s. All results are in data/. When it answers again, "
            "'%s' records the evaluation and registers the model.", run.uri, left, run.register,
        )  # fmt: skip


def _send(name: str, method: str, *arguments: Any, **named: Any) -> None:
    """Calls a method of the client on the run, now or when the server answers again."""
    if (run := _current) is not None:
        run.outbox.send(name, lambda: getattr(run.client, method)(run.run_id, *arguments, **named))


def log_epoch(model: str, report: "EpochReport") -> None:
    """Loss, validation NDCG and strata weights of one epoch, as steps of metrics named `<model>.…`."""
    if _current is None:
        return
    from mlflow.entities import Metric

    metrics = [Metric(f"{model}.{key}", value, 0, report.epoch) for key, value in report.row().items()]
    _send(f"epoch of {model}", "log_batch", metrics=metrics)


def log_evaluation(evaluation: dict[str, Any]) -> None:
    """Every metric by model and group, the gains with their intervals, and the hash of the data."""
    if _current is None:
        return
    from mlflow.entities import Metric, RunTag

    # Intervals may be undefined (None), and are then no metric.
    numbers = flat({"test": evaluation["models"], "gain": evaluation["comparisons"]})
    metrics = [Metric(key, value, 0, 0) for key, value in numbers.items() if value is not None]
    _send("evaluation", "log_batch", metrics=metrics, tags=[RunTag("data.sha256", evaluation["data"]["sha256"])])
    _send("evaluation.json", "log_dict", evaluation, "evaluation.json")


def log_figure(name: str, figure: "Figure") -> None:
    """Keeps a plotly figure for the page of figures that the end of the run sends.

    One page for all of them: each would carry the 4.5 MB of plotly's script.
    """
    if _current is not None:
        _current.figures[name] = figure


def log_report(page: str, name: str = "report") -> None:
    """The report page, or another one."""
    _send(name, "log_text", page, f"{name}.html")
