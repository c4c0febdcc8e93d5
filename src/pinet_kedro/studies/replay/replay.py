"""A log played back period by period through retraining, in a sandbox: what the loop would have done, and why."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd

from pinet_kedro.checking import checked
from pinet_kedro.datasets.files import ParquetDataset, TextDataset
from pinet_kedro.errors import REFUSED_EXIT, InputError
from pinet_kedro.interactions.events import Cleaning, Interactions, rated_enough
from pinet_kedro.processes.lock import hold
from pinet_kedro.project import project_folder
from pinet_kedro.promotion.decision import Decision
from pinet_kedro.registry.loading import load_version
from pinet_kedro.reporting.text import gain_of, plural, with_interval
from pinet_kedro.studies.replay.next_period import NO_NEXT, judge_by_next
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.store import PLACES

log = logging.getLogger("pinet_kedro")

SANDBOX = "data/replay"
REPORTING = "data/08_reporting"
FREQUENCIES = {"day": "D", "week": "W", "month": "M", "quarter": "Q", "year": "Y"}

NOT_MEASURED = "not measured"
_CATALOG_ENTRY = "new_interactions"
_REFRESH_GROUPS, _GROUPS = ("all", "head", "tail"), ("head", "tail")
# Columns of a refresh, of a period in which there is none.
NO_REFRESH: dict[str, Any] = dict.fromkeys(
    f"refresh_{name}"
    for name in (
        "seconds", "outcome", "version", "against", "reasons", "targets",
        *(f"{model}_{group}" for group in _REFRESH_GROUPS for model in ("reference", "challenger")),
        *(f"{group}_gain_{end}" for group in _REFRESH_GROUPS for end in ("relative", "low", "high")),
    )
)  # fmt: skip
# Columns of a training, of a period in which it fails.
NO_TRAINING: dict[str, Any] = dict.fromkeys((
    "unknown_users", "unknown_items_events", "popularity_shift", "shift_by_chance", "rank_correlation", "champion",
    "start", "against", "model", "version", "outcome", "decision", "reasons", "targets",
    *(f"{model}_{group}_on_new" for group in _GROUPS for model in ("champion", "popularity")),
    *(f"{model}_{group}" for group in _GROUPS for model in ("reference", "challenger")),
    *(f"{group}_gain_{end}" for group in _GROUPS for end in ("relative", "low", "high")),
))  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """`env`: Kedro environment; `every`: a name of `FREQUENCIES`; `limit`: at most so many periods; `params`: as
    `kedro run` takes them."""

    env: str | None = None
    every: str = "month"
    limit: int | None = None
    params: str | None = None


def replay(config: Replay) -> pd.DataFrame:
    """One row per period, stored with its page in `data/08_reporting` after every period.

    The events are those of `raw_interactions`. Each period is put as a file into a sandbox, a project of its own with
    this one's configuration but with its own data, registry and lock. There a refresh, once there is a champion, and
    then retraining are run by processes of their own, as a scheduler would. If retraining fails, the row of the period
    says so, and its events are trained on with the next period's.
    """
    with hold("replay"):
        return _replay(config)


def _replay(config: Replay) -> pd.DataFrame:
    events, columns, cleaning = _load(config)
    periods = list(cut(events, config.every))[: config.limit]
    sandbox = _sandbox()
    log.info("Replay of %s in %s", plural(len(periods), "period"), sandbox)
    rows: list[dict[str, Any]] = []
    for number, (name, part) in enumerate(periods, 1):
        place = sandbox / "data/01_raw/interactions" / f"{name}.parquet"
        # Dates, which are read alike whatever unit the partitions of the project have.
        dated = part.assign(timestamp=_moments(part))
        ParquetDataset(filepath=str(place)).save(dated.rename(columns=columns))
        if rows:
            rows[-1] |= _next(rows[-1], [of for _, of in periods[:number]], cleaning, sandbox)
        crowned = any(row["outcome"] == "promoted" for row in rows)
        refreshed = _refresh(config, sandbox, name) if crowned else NO_REFRESH
        trained = _retrain(config, sandbox, name)
        rows.append({"period": name, "events": len(part), **refreshed, **trained, **NO_NEXT})
        log.info("[%d/%d] %s", number, len(periods), line(rows[-1]))
        _store(pd.DataFrame(rows), config)
    return pd.DataFrame(rows)


def cut(events: pd.DataFrame, every: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The periods that have events, by name and in order, each with its events in the order of the log."""
    period = _moments(events).dt.to_period(FREQUENCIES[every])
    for name, part in events.groupby(period.astype(str).str.replace("/", "_"), sort=True):
        yield str(name), part


def _moments(events: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(events["timestamp"].astype("int64"), unit="ns")


def line(row: dict[str, Any]) -> str:
    """A period in one line."""
    parts = [f"{row['period']}: {plural(row['events'], 'event')}", row["decision"]]
    if pd.notna(row.get("challenger_tail")):
        parts.append(
            f"head {row['reference_head']:.4f} → {row['challenger_head']:.4f}, "
            f"tail {row['reference_tail']:.4f} → {row['challenger_tail']:.4f} against {row['against']}"
        )
    return f"{'; '.join(parts)} ({row['seconds']:.0f} s)"


def summary(rows: pd.DataFrame) -> str:
    """The last line."""
    return f"{_counts(rows)} Page: {project_folder() / REPORTING / 'replay.html'}"


def _counts(rows: pd.DataFrame) -> str:
    counts = rows["outcome"].value_counts()
    listed = ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in ("promoted", "refused", "failed"))
    said = f"Replay: {len(rows)} periods, {listed}."
    few = int(((rows["outcome"] == "refused") & rows["reasons"].str.contains(NOT_MEASURED, na=False)).sum())
    if few:
        said += (
            f" In {few} of those refused, gains were not measured: too few users have test targets. A split in time "
            "needs users who come back, leave_one_out does not (retraining_splitting.rule)."
        )
    return said


def _load(config: Replay) -> tuple[pd.DataFrame, dict[str, str], Cleaning]:
    """Raw events of the environment, the names that its partitions have for the canonical columns, and its cleaning."""
    from kedro.framework.cli.utils import _split_params
    from kedro.framework.session import KedroSession

    given = _split_params(click.Context(click.Command("replay")), click.Option(["--params"]), config.params or "")
    with KedroSession.create(env=config.env, runtime_params=given) as session:
        context = session.load_context()  # type: ignore[attr-defined]
        entry = context.config_loader["catalog"][_CATALOG_ENTRY]
        if Path(entry["path"]).is_absolute():
            raise InputError(
                f"'{_CATALOG_ENTRY}' of the catalog has an absolute path ({entry['path']}): a replay would take its "
                "partitions from there. Give a path inside the project."
            )
        cleaning = checked(Cleaning, context.config_loader["parameters"]["cleaning"], "cleaning")
        found = Interactions.of(context.catalog.load("raw_interactions")).in_memory()
    if not found.origin.clock:
        raise InputError("the timestamps of these events give their order, not their time: there is nothing to cut by.")
    declared = entry["dataset"].get("columns") or {}
    names = {"user": "user_id", "item": "item_id", "timestamp": "timestamp", "rating": "rating"}
    return found.events, {canonical: declared.get(role) or canonical for role, canonical in names.items()}, cleaning


def _sandbox() -> Path:
    """An empty project with this one's configuration. (Kedro wants a folder of sources; the package is installed.)"""
    project = project_folder()
    sandbox = project / SANDBOX
    shutil.rmtree(sandbox, ignore_errors=True)
    for folder in ("src", "logs", "data/01_raw/interactions"):
        (sandbox / folder).mkdir(parents=True)
    (sandbox / "conf").symlink_to(os.path.relpath(project / "conf", sandbox), target_is_directory=True)
    for name in ("pyproject.toml", ".telemetry"):
        if (project / name).exists():
            shutil.copy(project / name, sandbox)
    return sandbox


def _next(row: dict[str, Any], periods: list[pd.DataFrame], cleaning: Cleaning, sandbox: Path) -> dict[str, Any]:
    """What the versions of the last but one of these periods are worth in the last one."""
    versions = ways_of(row)
    if row["version"] is None:
        return NO_NEXT
    registry = Tracking(uri=f"sqlite:///{sandbox / 'mlflow.db'}", model=row["model"])
    *before, following = (part[rated_enough(part, cleaning)] for part in periods)
    models = {way: load_version(version, registry) for way, version in versions.items() if version is not None}
    return judge_by_next(models, pd.concat(before, ignore_index=True), following)


def ways_of(row: dict[str, Any]) -> dict[str, str | None]:
    """The version of each way of keeping up in the period of this row."""
    # Where the refresh was promoted, it is the champion that training found.
    before = (row["refresh_against"] or "").removeprefix("version ") or row["champion"]
    return {"kept": before, "refreshed": row["refresh_version"], "trained": row["version"]}


def _refresh(config: Replay, sandbox: Path, name: str) -> dict[str, Any]:
    """What a refresh with the new period has made of the champion."""
    seconds, why = _run("refresh", config, sandbox, name)
    if why is not None:
        return NO_REFRESH | {"refresh_seconds": seconds, "refresh_outcome": "failed", "refresh_reasons": why}
    decision = Decision.model_validate(_stored(sandbox, "refresh"))
    row = {"seconds": seconds} | _decided(decision, _REFRESH_GROUPS)
    return {f"refresh_{name}": value for name, value in row.items()}


def _retrain(config: Replay, sandbox: Path, name: str) -> dict[str, Any]:
    seconds, why = _run("retraining", config, sandbox, name)
    if why is not None:
        return NO_TRAINING | {"seconds": seconds, "outcome": "failed", "decision": f"failed: {why}"}
    return {"seconds": seconds} | _row(_stored(sandbox, "retraining"))


def _stored(sandbox: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((sandbox / REPORTING / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _run(pipeline: str, config: Replay, sandbox: Path, name: str) -> tuple[float, str | None]:
    """Seconds, and the reason of a failure; None if the run has ended with a decision."""
    # The sandbox's registry, whatever the configuration or the environment names.
    parameters = ["tracking.uri=sqlite:///mlflow.db", "retraining.raw_log=false"]  # the periods are the whole log
    environment = {key: value for key, value in os.environ.items() if key not in PLACES}
    environment["MLFLOW_TRACKING_URI"] = "sqlite:///mlflow.db"  # which conf/prod asks for
    if config.params:
        parameters.insert(0, config.params)
    command = [sys.executable, "-m", "pinet_kedro", "run", f"--pipeline={pipeline}", f"--params={','.join(parameters)}"]
    if config.env:
        command.append(f"--env={config.env}")
    begun = time.monotonic()
    place = sandbox / "logs" / f"{name}_{pipeline}.log"
    with place.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=sandbox, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - begun
    if done.returncode in (0, REFUSED_EXIT):
        return seconds, None
    lines = [text for text in place.read_text(encoding="utf-8").splitlines() if text.strip()]
    last = lines[-1] if lines else "no output"
    why = next((text for text in reversed(lines) if text.startswith("Error")), last)
    return seconds, why.removeprefix("Error: ")


def _row(done: dict[str, Any]) -> dict[str, Any]:
    drift, decision = done["drift"], Decision.model_validate(done["promotion"])
    popularity = drift["popularity"] or {}
    row = {
        "unknown_users": drift["unknown_users"],
        "unknown_items_events": drift["unknown_items_events"],
        "popularity_shift": popularity.get("divergence"),
        "shift_by_chance": popularity.get("by_chance"),
        "rank_correlation": popularity.get("rank_correlation"),
        "champion": decision.champion_before,
        "start": done["start"],
        "model": decision.model,
        "decision": f"{decision.outcome}: version {decision.version}",
    }
    for group in _GROUPS:
        on_new = drift["groups"].get(group, {})
        row |= {
            f"champion_{group}_on_new": on_new.get("challenger"),
            f"popularity_{group}_on_new": on_new.get("reference"),
        }
    return row | _decided(decision, _GROUPS)


def _decided(decision: Decision, groups: tuple[str, ...]) -> dict[str, Any]:
    """The columns of any decision, with the gains of these groups of users."""
    row: dict[str, Any] = {
        "outcome": decision.outcome,
        "version": decision.version,
        "against": decision.against,
        "reasons": reasons_of(decision),
        "targets": decision.data.get("test_targets"),
    }
    for group in groups:
        found = decision.groups.get(group, {})
        row |= {f"{model}_{group}": found.get(model) for model in ("reference", "challenger")}
        row |= {f"{group}_gain_{end}": found.get("gain", {}).get(end) for end in ("relative", "low", "high")}
    return row


def reasons_of(decision: Decision) -> str:
    """The reasons of a decision, short enough for a cell: of gates that were not measured, the names alone."""
    unmeasured = {gate.reason: gate.name for gate in decision.gates if gate.unmeasured}
    short = [reason for reason in decision.reasons if reason not in unmeasured]
    names = [unmeasured[reason] for reason in decision.reasons if reason in unmeasured]
    return "; ".join([*short, *([f"{NOT_MEASURED}: {', '.join(names)}"] if names else [])])


def render_replay(rows: pd.DataFrame, config: Replay) -> str:
    """The page of the periods, self-contained, in the style of the report."""
    from pinet_kedro.reporting.page import render

    template = Path(__file__).with_name("replay.html.j2")
    shown = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return render(template, rows=shown, config=config, summary=_counts(rows), interval=_interval)


def _interval(row: dict[str, Any], gain: str) -> str:
    """A gain in columns of a row; a dash where nothing was compared."""
    found = {end: row.get(f"{gain}_{end}") for end in ("relative", "low", "high")}
    return "–" if found["relative"] is None else with_interval(gain_of(found))


def _store(rows: pd.DataFrame, config: Replay) -> None:
    folder = project_folder() / REPORTING
    ParquetDataset(filepath=str(folder / "replay.parquet")).save(rows)
    TextDataset(str(folder / "replay.html")).save(render_replay(rows, config))
