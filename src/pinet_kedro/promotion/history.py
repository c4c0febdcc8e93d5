"""The history of decisions: each is a JSON file and a page, in its own run and in the run of the version.

The files are named after time and outcome (`Decision.place`), and no file is written twice. The version's description
lists its decisions, too; its tag `decision` is the latest.
"""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pinet_kedro.errors import InputError
from pinet_kedro.promotion.decision import DECISION_TAG, PREDECESSOR_TAG, PROMOTED, Decision, place_of
from pinet_kedro.provenance import git_state
from pinet_kedro.registry.aliases import CHAMPION, read_aliases
from pinet_kedro.registry.model_card import with_decision
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.recording import NOTE, end_run, log_decision, send
from pinet_kedro.tracking.run_info import MlflowRun, RunInfo
from pinet_kedro.tracking.runs import start_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# The tag of a promotion (`Decision.tags`).
_PROMOTED = re.compile(
    rf"{PROMOTED}.* against (?P<against>.+); (?P<place>decisions/(?P<date>[\dT-]+)_{PROMOTED})\.html$"
)
_EARLIER_TAGS = ("decision.", "gate.")  # of earlier releases, which had no files


def date_of_decision(client: "MlflowClient", model: str, version: str) -> str:
    """The time of a new decision (ISO, UTC): now, or the first second later at which the version has no decision."""
    from mlflow.exceptions import MlflowException

    taken: list[str] = []
    if run_id := client.get_model_version(model, version).run_id:
        try:
            taken = [file.path for file in client.list_artifacts(run_id, "decisions")]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # somebody has deleted the run
                raise
    now = datetime.now(UTC)
    while any(path.startswith(place_of(now.isoformat())) for path in taken):
        now += timedelta(seconds=1)
    return now.isoformat(timespec="seconds")


def keep(client: "MlflowClient", decision: Decision, run: MlflowRun | None) -> None:
    """Adds the decision to the history of its version, and to `run`, which decided, if there is one.

    A server that is away stops nothing: the outbox of `run` sends the decision when the server answers again.
    """
    if run is None:
        _keep(client, decision)
    else:
        send(run, f"decision on version {decision.version}", lambda _: _keep(client, decision))


def complete(client: "MlflowClient", model: str) -> str | None:
    """A sentence if the champion had no record of its promotion, because a process was killed before it wrote that; it
    has one now, without gates and figures, which are lost."""
    from mlflow.exceptions import MlflowException

    number = read_aliases(client, model).get(CHAMPION)
    version = client.get_model_version(model, number) if number else None
    told = _PROMOTED.match(version.tags.get(DECISION_TAG, "")) if version else None
    if version is None or told is None or not version.run_id:
        return None
    try:
        kept = {file.path for file in client.list_artifacts(version.run_id, "decisions")}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # somebody has deleted the run
            raise
        return None
    if f"{told['place']}.json" in kept:
        return None
    day, _, time = told["date"].partition("T")
    before = version.tags.get(PREDECESSOR_TAG, "none")
    lost = "the process that decided was killed before it had recorded the decision: gates and figures are lost"
    decision = Decision(
        promoted=True,
        model=model,
        version=str(number),
        against=told["against"],
        champion_before=None if before == "none" else before,
        notes=(lost,),
        date=f"{day}T{time.replace('-', ':')}+00:00",
    )
    _keep(client, decision)
    return f"the promotion of version {number} had no record, since it was interrupted, and has one now"


def keep_rollback(client: "MlflowClient", decision: Decision, registry: Tracking, environment: str) -> None:
    """Adds a rollback to the history, with an MLflow run of its own; warns, and raises nothing, if that fails."""
    info = RunInfo("rollback", environment, git_state(), registry)
    try:
        info = start_run(info, {"rollback": {"version": decision.version, "reason": decision.reasons[0]}})
    except InputError as error:
        log.warning("The rollback is done; it is not in the history of decisions: %s", error)
        return
    decision = decision.model_copy(update={"run_id": info.mlflow_id})
    keep(client, decision, info.mlflow)
    log_decision(info, decision.model_dump(mode="json"))
    end_run(info, "FINISHED")


def _keep(client: "MlflowClient", decision: Decision) -> None:
    """May be repeated: what is there already stays as it is."""
    from pinet_kedro.promotion.page import render_promotion  # plotly takes half a second
    from pinet_kedro.reporting.page import without_home

    version = client.get_model_version(decision.model, decision.version)
    files = {".json": decision.model_dump_json(indent=2), ".html": without_home(render_promotion(decision))}
    for run_id in filter(None, dict.fromkeys((decision.run_id, version.run_id))):
        for suffix, text in files.items():
            client.log_text(run_id, text, decision.place + suffix)
    if decision.run_id and decision.run_id != version.run_id:
        told = [decision.sentence(), *(f"- {reason}" for reason in decision.reasons)]
        client.set_tag(decision.run_id, NOTE, "\n".join([*told, "", f"Page: `{decision.place}.html`"])[:5000])
    where = f"`{decision.place}.html`"
    if version.run_id:
        experiment = client.get_run(version.run_id).info.experiment_id
        where = f"[{where}](#/experiments/{experiment}/runs/{version.run_id}/artifacts/{decision.place}.html)"
    described = with_decision(version.description, f"{decision.summary()}: {where}")
    client.update_model_version(decision.model, decision.version, described)
    # `roll_back` still needs the champion before, of versions without the tag for it.
    needed = "" if PREDECESSOR_TAG in version.tags else "decision.champion_before"
    for key in version.tags:
        if key.startswith(_EARLIER_TAGS) and key != needed:
            client.delete_model_version_tag(decision.model, decision.version, key)
