"""One MLflow run for one `kedro run`. MLflow is imported only when a run is tracked: it takes 2 s."""

import atexit
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinet_kedro.errors import InputError
from pinet_kedro.parameters import flat, plain
from pinet_kedro.printable import public
from pinet_kedro.processes.identity import is_gone, this_process
from pinet_kedro.provenance import versions
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.database import is_database
from pinet_kedro.tracking.recording import NOTE, begin_run, end_run, send
from pinet_kedro.tracking.run_info import MlflowRun, RunInfo
from pinet_kedro.tracking.server import sentence
from pinet_kedro.tracking.store import address, check_artifacts, check_database, check_environment, location_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_RUNS = """\
One run for each `kedro run`, each decision on a model version included. Names say what was done:

- `full · sasrec · seed 1`: trained and evaluated a base and PIN, and registered PIN as a version. `report.html` shows \
the result, `data_docs/` what the data gates checked, `model_card.md` describes the version, `evaluation.json` has all \
numbers.
- `version 4 promoted · retraining · sasrec · seed 1`: the same on new data, from the champion, with the decision.
- `version 5 promoted · refresh`: the champion with counts of new events, without training, and the decision.
- `version 3 refused · promotion`, `version 2 rolled back · rollback`: a decision; `decisions/` has its page.
- `tuning …`: a study, with a run inside it for each trial. `benchmark …`: methods compared over seeds.

Metrics: `ndcg_at_10/<users>/<model>` on test targets; `gain_over_base/<users>`: relative, of PIN, with the ends of \
its 95 % interval; `as_shipped/…`: the same after the refit; `training/<model>/…`: curves over epochs; `gain/<users>` \
of a decision: over the version that was the champion, or over popularity if there was none.
"""
# Sections of parameters that only the pipeline or service of this name uses.
_OTHERS = ("benchmark", "gradient_noise", "schedule", "serving", "tuning")
_PROCESS = "process."  # prefix of the tags that say which process a run belongs to


def start_run(info: RunInfo, parameters: dict[str, Any]) -> RunInfo:
    """The facts of the run with its new MLflow run, which has the flat parameters and, as tags, code and versions.

    Raises `InputError` where the server does not answer, or cannot keep what the run will make: better no run than one
    that fails after hours.
    """
    from mlflow.entities import Param

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # one line for every attempt; ours is one for all
    config = info.tracking
    check_environment(config, run=True)
    client = connect(config, write=True)
    tags = {"pipeline": info.pipeline, "environment": info.environment, "git": info.git, **process_tags()}
    tags |= {"mlflow.source.name": _command(info), "mlflow.source.type": "LOCAL"}
    tags |= {f"version.{name}": number for name, number in versions().items()}
    nothing = (
        "Nothing has been run. Start it, or name another one as tracking.uri (conf/base/parameters_registration.yml)."
    )
    with sentence(config.uri, nothing):
        experiment_id = _experiment(client, config)
        check_artifacts(client.get_experiment(experiment_id).artifact_location)
        _end_the_dead(client, experiment_id)
        # With its tags at once: a run without them that is killed would stay open for ever.
        run_id = client.create_run(experiment_id, tags=tags, run_name=info.name or info.pipeline).info.run_id
        used = {key: value for key, value in parameters.items() if key not in _OTHERS or key in info.pipeline}
        params = [Param(key, public(str(value))) for key, value in flat(plain(used)).items()]
        client.log_batch(run_id, params=params)
    run = MlflowRun(address(config.uri), experiment_id, run_id)
    begin_run(run)
    started = replace(info, mlflow=run)
    atexit.register(end_run, started, "KILLED")  # by a signal; does nothing when the run has ended before
    return started


def name_of(pipeline: str, parameters: dict[str, Any], trains: bool) -> str:
    """The name of a run, such as 'full · sasrec · seed 1'; of a run that trains nothing, the pipeline."""
    if not trains:
        return pipeline
    training = plain(parameters)["backbone_training"]
    return f"{pipeline} · {training['backbone']['name']} · seed {training['seed']}"


def _command(info: RunInfo) -> str:
    """The command of a run, for the column `Source` of MLflow."""
    what = info.pipeline if info.pipeline == "rollback" else f"run --pipeline={info.pipeline}"
    return f"kedro {what} --env={info.environment}"


def process_tags() -> dict[str, str]:
    """Tags that say which process a run belongs to, for `end_the_dead`."""
    return {_PROCESS + key: value for key, value in this_process().items()}


def _experiment(client: "MlflowClient", config: Tracking) -> str:
    """The id of the experiment, which is created if there is none; its description is written once."""
    asked = None if config.artifacts is None else location_of(config.artifacts)
    if experiment := client.get_experiment_by_name(config.experiment):
        if experiment.lifecycle_stage == "deleted":
            raise InputError(
                f"the experiment '{config.experiment}' has been deleted. Restore it (mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}), or name another one: --params=tracking.experiment=…"
            )
        if asked and experiment.artifact_location.rstrip("/") != asked.rstrip("/"):
            raise InputError(
                f"tracking.artifacts is {asked}, but the experiment '{config.experiment}' keeps its files in "
                f"{experiment.artifact_location}, for good. Give that, or name another tracking.experiment."
            )
        if NOTE not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, NOTE, _RUNS)
        return experiment.experiment_id
    # A server decides where artifacts go; with a database they go into the project.
    if asked is None and not config.uri.startswith(("http", "databricks", "uc")):
        asked = location_of("mlartifacts")
        if is_database(config.uri):
            log.warning(
                "The experiment '%s' keeps its files in %s: other machines that use the database cannot load its "
                "versions. For those, set tracking.artifacts (docs/stores.md) and another tracking.experiment.",
                config.experiment, asked,
            )  # fmt: skip
    return client.create_experiment(config.experiment, artifact_location=asked, tags={NOTE: _RUNS})


def _end_the_dead(client: "MlflowClient", experiment_id: str) -> None:
    """Closes as FAILED the runs of this machine whose process has ended without closing them (`kill -9`, power)."""
    host = this_process()["host"]
    mine = f"attributes.status = 'RUNNING' and tags.`{_PROCESS}host` = '{host}'"
    for run in client.search_runs([experiment_id], filter_string=mine):
        if is_gone({key: run.data.tags[_PROCESS + key] for key in this_process()}):
            client.set_tag(run.info.run_id, "failure", "the process ended without closing the run")
            client.set_terminated(run.info.run_id, "FAILED")


def end_the_dead(run: MlflowRun | None) -> None:
    """Closes what processes of this machine have left open in the experiment of this run."""
    if run is not None:
        send(run, "end of dead runs", lambda client: _end_the_dead(client, run.experiment_id))


def connect(config: Tracking, write: bool = False) -> "MlflowClient":
    """A client of the configured server, which MLflow itself uses from now on for runs and versions.

    Raises `InputError` where an environment variable names another server, or where a database file cannot be read or,
    with `write`, written.
    """
    check_environment(config, run=False)
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
