"""Kedro's settings: how configuration merges, and what watches a run."""

import os
from pathlib import Path

from kedro.utils import find_kedro_project
from omegaconf.resolvers import oc

from pinet_kedro.processes.terminal import guard_terminal
from pinet_kedro.runs.closing_lines import ClosingLines
from pinet_kedro.runs.input_checks import ParameterChecks, check_run
from pinet_kedro.runs.lineage import ManifestHook
from pinet_kedro.runs.loader import ConfigurationLoader
from pinet_kedro.runs.raw_log import RawLogHook
from pinet_kedro.runs.run_lock import RunLock
from pinet_kedro.runs.start_page import StartPage
from pinet_kedro.runs.viz_statistics import VizStatistics
from pinet_kedro.runs.work_start import WorkStart
from pinet_kedro.scheduling.airflow import AirflowHook
from pinet_kedro.tracking.hook import TrackingHook

guard_terminal()

os.environ.setdefault("KEDRO_DISABLE_TELEMETRY", "true")  # its hooks on commands are not among those disabled below
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# A tracking server that is down or fails is given up after 3 attempts, some 4 s, one that hangs after 3 × 10 s.
# MLflow's own defaults are 8 attempts of 120 s each.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")

_tracking = TrackingHook()
HOOKS = (
    RunLock(),
    ParameterChecks(),
    RawLogHook(),
    ManifestHook(),
    AirflowHook(),
    ClosingLines(),
    StartPage(),
    VizStatistics(),
    _tracking,
    WorkStart(check_run, _tracking.open),
)
# Beside an installed wheel there is no project for kedro-viz to write to, and it would warn of that.
_IN_PROJECT = find_kedro_project(Path.cwd()) is not None
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",) if _IN_PROJECT else ("kedro-telemetry", "kedro-viz")

CONFIG_LOADER_CLASS = ConfigurationLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes the values that it names and keeps the rest of base.
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"oc.env": oc.env},
}
