"""A small log with planted transitions, one of pure noise, and a backbone trained on the first; all on one thread."""

import copy
import gc
import io
import multiprocessing
import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from coverage import Coverage
from filelock import FileLock
from omegaconf import OmegaConf
from sqlalchemy import event
from sqlalchemy.engine import Engine

from fresh_processes import FreshProcesses
from pinet_kedro.activeness import ReportingStrata, Stratification
from pinet_kedro.aggregation.config import DeconfoundedConfig
from pinet_kedro.backbones.backbone import Backbone
from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.dataset import Dataset, build_dataset
from pinet_kedro.fitting.plugin import fit_plugins
from pinet_kedro.fitting.scorers import build_scorers
from pinet_kedro.interactions.events import Cleaning, clean_events
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Split, Splitting
from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.plugins.config import PluginTraining
from pinet_kedro.plugins.plugins import Plugins
from pinet_kedro.plugins.popularity import Popularity, count_popularity
from pinet_kedro.tracking import store
from pinet_kedro.training.backbone import train_backbone
from pinet_kedro.training.config import BackboneTraining, TrainingSchedule
from servers import start_tracking_server

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start: the workers share few cores
for pause in ("FACTOR", "JITTER"):  # a server that a test has killed does not come back while a request waits
    os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_BACKOFF_{pause}", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of a pipeline or command `slow`, and puts files with slow tests first.

    Workers take whole files, so that a fixture of a file is built once; short files at the end let them finish
    together.
    """
    for item in items:
        if _is_whole(item):
            item.add_marker("slow")
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


def pytest_collection_finish() -> None:
    """Spares the garbage collector what is imported by now, half a million objects: 6 % of the time of tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _is_whole(item: pytest.Item) -> bool:
    """Whether it tests a pipeline, a command, or pages in a browser."""
    fixtures = getattr(item, "fixturenames", ())
    return item.path.parent.name == "pipelines" or not {"browser", "tracking_server"}.isdisjoint(fixtures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Coverage is not measured in slow tests: Python 3.11 takes up to twice as long where it is measured.

    A worker of pytest-xdist has two measurements, and where one is stopped the other goes on.
    """
    stopped = []
    while item.get_closest_marker("slow") and (measurement := Coverage.current()):
        measurement.stop()
        stopped.append(measurement)
    try:
        return (yield)
    finally:
        for measurement in reversed(stopped):
            measurement.start()


@pytest.fixture(autouse=True)
def _nothing_of_another_test():
    """MLflow changes the process: `set_tracking_uri` sets the variable that a run obeys or refuses, and `load_model`
    puts the code of the version first on `sys.path`, where processes that a test starts would find it."""
    path = sys.path.copy()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    sys.path[:] = path


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory):
    """The folder of this session, for what its workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _databases_do_not_wait_for_the_disk():
    """A run commits fifty times, and a test needs none of it after a loss of power."""

    def connected(connection, _):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


@pytest.fixture(scope="session", autouse=True)
def make_database(of_all_workers):
    """MLflow makes a database by some fifty migrations in 1.3 s. Here it makes one, and all others are copies of it.

    Yields how a run makes one.
    """
    make, empty = store._make, of_all_workers / "empty.db"

    def copy(path):
        with FileLock(f"{empty}.lock"):
            if not empty.exists():
                make(empty)
        shutil.copy(empty, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_make", copy)
        yield make


@pytest.fixture(scope="session", autouse=True)
def _each_text_of_configuration_is_parsed_once():
    """YAML is 40 % of the time of a command that is refused, and hundreds of commands here read the same files."""
    load, parsed = OmegaConf.load, {}

    def load_once(file):
        if not hasattr(file, "read"):
            return load(file)
        text = file.read()
        if text not in parsed:
            parsed[text] = load(io.StringIO(text))
        return copy.deepcopy(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", staticmethod(load_once))
        yield


@dataclass(frozen=True)
class World:
    """Everything that training and evaluation need of one log."""

    events: pd.DataFrame
    dataset: Dataset
    popularity: Popularity

    @property
    def sequences(self) -> Sequences:
        return self.dataset.sequences

    @property
    def split(self) -> Split:
        return self.dataset.split

    @property
    def strata(self) -> ReportingStrata:
        return self.dataset.strata

    @property
    def item_ids(self) -> np.ndarray:
        return self.dataset.item_ids

    @property
    def n_items(self) -> int:
        return self.dataset.n_items

    @property
    def users(self) -> np.ndarray:
        return np.arange(self.dataset.n_users)

    def having(self, **parts: Any) -> "World":
        """The world with another `split`, `sequences` or `strata`."""
        return replace(self, dataset=replace(self.dataset, **parts))

    def fit_plugins(self, backbone: Backbone, config: PluginTraining) -> Plugins:
        """By stratum."""
        return fit_plugins(backbone, self.dataset, build_scorers(self.dataset, self.popularity, config), config)[0]


def build_world(planted: float) -> World:
    log = SyntheticLog(users=300, items=60, min_events=6, max_events=60, planted=planted, followers=2)
    events, _ = clean_events(generate_interactions(log), Cleaning())
    dataset, _ = build_dataset(events, Splitting(), ExcludeSeen(False), Stratification())
    return World(events, dataset, count_popularity(dataset))


@pytest.fixture(scope="session")
def planted_world() -> World:
    """Four of five events follow the item before."""
    return build_world(0.8)


@pytest.fixture(scope="session")
def noise_world() -> World:
    """Events are drawn by popularity alone."""
    return build_world(0.0)


@pytest.fixture(scope="session")
def small_training() -> BackboneTraining:
    """A backbone and a budget that learn the planted log in half a second."""
    return BackboneTraining(
        backbone=SASRecConfig(width=16, blocks=1, heads=2, max_length=10, dropout=0.1),
        schedule=TrainingSchedule(epochs=8, batch_users=32, learning_rate=1e-2, weight_average=0.9, validate_every=100),
        aggregation=DeconfoundedConfig(),
    )


@pytest.fixture(scope="session")
def joint_backbone(planted_world, small_training):
    """The base: joint training on the planted log."""
    return train_backbone(planted_world.dataset, small_training.joint())


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory):
    """A real `mlflow server`, started once for all tests over HTTP, which share its experiments and models."""
    server = start_tracking_server(tmp_path_factory.mktemp("tracking_server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def fresh_processes(tmp_path_factory):
    """Stands for processes that try or serve a version, whose imports take 5 s of CPU."""
    processes = FreshProcesses(tmp_path_factory.mktemp("fresh"))
    yield processes
    processes.stop()


@pytest.fixture(scope="module")
def spawned_by_a_server():
    """Processes that this one spawns are forks of a server that has imported what they need: 5 s of CPU less for each.

    Other tests spawn them as a run does: `tests/processes/`, and those whose command is a process of its own.
    """
    from pinet_kedro.processes import workers
    from pinet_kedro.studies.benchmark import bench

    multiprocessing.set_forkserver_preload(["torch._dynamo", "pinet_kedro.studies.tuning.study", "mlflow.tracking"])
    of_the_tests = os.getpid()

    def context(method):
        return multiprocessing.get_context("forkserver" if os.getpid() == of_the_tests else method)

    with pytest.MonkeyPatch.context() as patch:
        for module in (bench, workers):
            patch.setattr(module, "get_context", context)
        yield
