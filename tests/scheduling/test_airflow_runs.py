"""The generated DAGs in a real Airflow. `make test-airflow` installs one and runs these tests."""

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import mlflow
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import MemoryDataset

from pinet_kedro.interactions.synthetic import SyntheticLog, generate_interactions
from pinet_kedro.pipeline_registry import STAGES, register_pipelines
from pinet_kedro.processes.lock import hold
from projects import ROOT, Project, create_project

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

FULL, RETRAINING = "pinet-kedro-full-test", "pinet-kedro-retraining-test"
RETRIES = 2
LIMIT_S = 600  # of a command
# For Airflow's Python: what it reads in the DAGs.
READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
dags = {
    dag.dag_id: {
        "schedule": repr(dag.timetable), "catchup": dag.catchup, "max_active_runs": dag.max_active_runs,
        "tasks": [task.task_id for task in dag.topological_sort()],
        "before": {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks},
        "retries": [[t.retries, t.retry_delay.total_seconds(), t.execution_timeout.total_seconds()] for t in dag.tasks],
    }
    for dag in bag.dags.values()
}
print(json.dumps({"errors": bag.import_errors, "warnings": bag.captured_warnings, "dags": dags}))
"""


@dataclass(frozen=True)
class Ran:
    """What one `airflow dags test` came to."""

    code: int
    log: str
    run: str  # the state of the run
    states: dict[str, str | None]  # of its tasks
    tries: dict[str, int]


class Airflow:
    """An installed Airflow with a home of its own and the DAGs of a project: SQLite, no server."""

    def __init__(self, programs: Path, home: Path, project: Project) -> None:
        self.programs, self.home, self.project = programs, home, project
        # All that a worker has: the project's own Python is found through its folder.
        self.environment = {
            "PATH": os.defpath, "HOME": str(home), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PINET_PROJECT": str(project.folder), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def start(self, program: str, *arguments: str, without: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.programs / program, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={name: value for name, value in self.environment.items() if name != without}, cwd=self.home,
        )  # fmt: skip

    def command(self, program: str, *arguments: str) -> str:
        process = self.start(program, *arguments)
        output = self.rest(process)
        assert process.returncode == 0, output
        return output

    def rest(self, process: subprocess.Popen[str]) -> str:
        """What the process still says; one that does not end is killed, and fails the test."""
        try:
            return process.communicate(timeout=LIMIT_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def test(self, dag: str, without: str = "", until: str = "") -> Ran:
        """`airflow dags test`, while this process holds the lock of the project until the log has these words."""
        process, log = self.start("airflow", "dags", "test", dag, without=without), ""
        if until:
            with hold("run", path=self.project.folder / "data/locks/run.lock"):
                for line in process.stdout:
                    log += line
                    if until in line:
                        break
        log += self.rest(process)
        database = sqlite3.connect(self.home / "airflow.db")
        run, state = database.execute(
            "SELECT run_id, state FROM dag_run WHERE dag_id = ? ORDER BY id DESC LIMIT 1", [dag]
        ).fetchone()
        tasks = database.execute(
            "SELECT task_id, state, try_number FROM task_instance WHERE dag_id = ? AND run_id = ?", [dag, run]
        ).fetchall()
        database.close()
        return Ran(process.returncode, log, state, {t: s for t, s, _ in tasks}, {t: n for t, _, n in tasks})


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Airflow with a DAG of `full` by stages and one of `retraining`, both of a project whose gates refuse every model.

    Skips the test without PINET_AIRFLOW, the folder of Airflow's programs.
    """
    if "PINET_AIRFLOW" not in os.environ:
        pytest.skip("Airflow is not installed: make test-airflow")
    programs = Path(os.environ["PINET_AIRFLOW"])
    assert (programs / "airflow").exists(), f"PINET_AIRFLOW: there is no Airflow in {programs}"
    project = create_project(tmp_path_factory.mktemp("project"))
    (project.folder / ".venv").symlink_to(sys.prefix)
    path = project.folder / "conf/test/parameters.yml"
    settings = yaml.safe_load(path.read_text())
    settings["promotion"]["gates"]["latency_ms"] = 0.001
    times = {"cron": "30 4 * * 1-5", "timezone": "Europe/Berlin"}
    settings["schedule"] = {**times, "retries": RETRIES, "retry_minutes": 0.03}
    path.write_text(yaml.safe_dump(settings))
    airflow = Airflow(programs, tmp_path_factory.mktemp("airflow"), project)
    subprocess.run(
        [sys.executable, "-m", "pinet_kedro", "airflow", "create", "--pipelines=full,retraining", "--env=test",
         "--group-by=namespace", "--jinja-file=conf/airflow_dag.py.j2", f"--target-dir={airflow.home / 'dags'}"],
        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=True,
    )  # fmt: skip
    airflow.command("airflow", "db", "migrate")
    return airflow


def test_airflow_reads_the_dags_without_errors_and_warnings(airflow):
    for path in (airflow.home / "dags").glob("*.py"):
        assert airflow.command("python", "-W", "error", str(path)) == ""
    read = json.loads(airflow.command("python", "-c", READ, str(airflow.home / "dags")).splitlines()[-1])
    assert read["errors"] == read["warnings"] == {}
    assert set(read["dags"]) == {FULL, RETRAINING}
    for dag in read["dags"].values():
        assert "expression='30 4 * * 1-5', timezone=Timezone('Europe/Berlin')" in dag["schedule"]
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        assert dag["retries"] == [[RETRIES, 1.8, 12 * 3600]] * len(dag["tasks"])
    assert read["dags"][RETRAINING]["tasks"] == ["retraining"]
    # The order of the stages is the only possible one, and each waits for all that it reads.
    full = read["dags"][FULL]
    assert full["tasks"] == list(STAGES)
    assert all(before in full["before"][after] for before, after in pairwise(STAGES))
    makers = {name: stage for stage in STAGES for name in register_pipelines()[stage].all_outputs()}
    for stage in STAGES:
        read_of = {makers[name] for name in register_pipelines()[stage].inputs() if name in makers}
        assert read_of <= set(full["before"][stage])


def test_full_runs_stage_by_stage(airflow):
    ran = airflow.test(FULL)
    assert (ran.code, ran.run) == (0, "success"), ran.log
    assert ran.states == dict.fromkeys(STAGES, "success")
    assert ran.tries == dict.fromkeys(STAGES, 1)
    folder = airflow.project.folder
    bootstrap_project(folder)
    with KedroSession.create(folder, env="test") as session:
        catalog = session.load_context().catalog
        outputs = register_pipelines()["full"].all_outputs()
        stored = {name for name in outputs if name in catalog and not isinstance(catalog[name], MemoryDataset)}
        assert {name for name in stored if not catalog.exists(name)} == set()
    assert {"dataset", "pin_model", "shipped_model", "evaluation", "report", "registered_version"} <= stored
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert str(client.get_model_version_by_alias("pinet", "challenger").version) == "1"
    runs = client.search_runs([client.get_experiment_by_name("pinet").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * len(STAGES)
    assert [run.info.run_name.split(" · ")[:2] for run in runs] == [["full", stage] for stage in reversed(STAGES)]


def test_a_task_that_fails_is_tried_again_and_then_fails(airflow):
    ran = airflow.test(RETRAINING, without="PINET_PROJECT")
    assert ran.code == 1
    assert "PINET_PROJECT: is not set: the folder of the project on this worker" in ran.log
    assert (ran.run, ran.states, ran.tries) == ("failed", {"retraining": "failed"}, {"retraining": 1 + RETRIES})


def test_a_retry_succeeds_once_the_run_before_it_has_ended(airflow):
    """Another run is active: the first try fails. Later there is nothing new, which is a success."""
    ran = airflow.test(RETRAINING, until=f"held by process {os.getpid()} on")
    assert (ran.code, ran.run, ran.states) == (0, "success", {"retraining": "success"}), ran.log
    assert ran.tries["retraining"] > 1
    assert "Nothing new: there is no file in" in ran.log


def test_a_refusal_is_skipped_and_not_tried_again(airflow):
    folder = airflow.project.folder / "data/01_raw/interactions"
    folder.mkdir(parents=True, exist_ok=True)
    events = generate_interactions(SyntheticLog(users=150, items=60, seed=1))
    events[["user_id", "item_id", "timestamp"]].to_csv(folder / "a.csv", index=False)
    ran = airflow.test(RETRAINING)
    assert (ran.code, ran.run, ran.states) == (0, "success", {"retraining": "skipped"}), ran.log
    assert ran.tries == {"retraining": 1}
    assert "returned exit code 3" in ran.log
    page = json.loads((airflow.project.folder / "data/08_reporting/retraining.json").read_text())
    assert not page["promotion"]["promoted"]
