"""The Airflow DAG that our template makes, as a file: it is compiled, its tree is read, and ruff agrees with it.

In Airflow it is run by `tests/scheduling/test_airflow_runs.py`."""

import ast
import json
import os
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from pinet_kedro.pipeline_registry import STAGES
from projects import ROOT


@pytest.fixture(scope="module")
def project(new_project, tmp_path_factory):
    """A project with a schedule in `conf/prod`."""
    project = new_project(tmp_path_factory.mktemp("airflow"))
    path = project.folder / "conf/prod/parameters.yml"
    schedule = {"cron": "30 4 * * 1-5", "timezone": "Europe/Berlin", "retries": 3, "retry_minutes": 7}
    path.write_text(path.read_text() + json.dumps({"schedule": schedule})[1:-1] + "\n")
    return project


@pytest.fixture(scope="module")
def dag(project):
    """The file without groups."""
    return create(project, MLFLOW_TRACKING_URI="http://user:secret@tracking.example")


def create(project, *options, **variables):
    """The file that `kedro airflow create` writes."""
    done = subprocess.run(
        [sys.executable, "-m", "pinet_kedro", "airflow", "create", "--pipelines=full", "--env=prod", *options,
         "--jinja-file=conf/airflow_dag.py.j2"],
        cwd=project.folder, capture_output=True, text=True, check=False,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (project.folder / "airflow_dags/pinet_kedro_prod_full_dag.py").read_text()


def values(tree, name):
    """What the keyword argument or dictionary key of this name is given, as source text."""
    keywords = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == name]
    entries = [
        value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == name
    ]
    return [ast.unparse(value) for value in keywords + entries]


def test_the_dag_compiles_and_follows_the_configured_schedule(dag):
    compile(dag, "dag.py", "exec")
    tree = ast.parse(dag)
    assert values(tree, "schedule") == ["'30 4 * * 1-5'"]
    assert values(tree, "tz") == ["'Europe/Berlin'"]
    assert values(tree, "retries") == ["3"]
    assert values(tree, "retry_delay") == ["timedelta(minutes=7.0)"]
    assert values(tree, "execution_timeout") == ["timedelta(hours=12.0)"]
    assert values(tree, "max_active_runs") == ["1"]
    assert values(tree, "catchup") == ["False"]
    assert "exec pinet-kedro run --pipeline=full --env=prod\n" in dag


def test_a_dag_has_times_of_its_own_if_they_are_given(project):
    text = create(project, "--params=cron=0 1 * * 0,retries=5")
    tree = ast.parse(text)
    assert values(tree, "schedule") == ["'0 1 * * 0'"]
    assert values(tree, "retries") == ["5"]
    assert values(tree, "retry_delay") == ["timedelta(minutes=7.0)"]


@pytest.mark.parametrize("options", [(), ("--group-by=namespace",)])
def test_a_dag_is_formatted_and_names_the_command_that_made_it(project, options):
    text = create(project, *options)
    command = " ".join(
        ["kedro airflow create --pipelines=full", *options, "--env=prod --jinja-file=conf/airflow_dag.py.j2"]
    )
    assert command in text.splitlines()
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--config", str(ROOT / "pyproject.toml"), "-"],
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_task_a_stage_in_their_order(project):
    text = create(project, "--group-by=namespace")  # the address of the server is not known here
    compile(text, "dag.py", "exec")
    assert 'exec pinet-kedro run --pipeline=full --env=prod --namespaces="""' in text
    assert re.findall(r': stage\("(\w+)"\)', text) == list(STAGES)
    arrows = [tuple(line.split('"')[1::2]) for line in text.splitlines() if " >> " in line]
    assert set(pairwise(STAGES)) <= set(arrows)
    assert all(STAGES.index(before) < STAGES.index(after) for before, after in arrows)


def test_the_dag_holds_no_path_of_this_machine_and_no_secret(dag, project):
    texts = [node.value for node in ast.walk(ast.parse(dag)) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and (text.startswith("/") or " /" in text)]
    assert str(project.folder) not in dag
    assert "secret" not in dag
    assert sys.prefix not in dag
