"""All of Kedro's runners train the same models and say the same at the end."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest

LAST = ("Trained: ", "Base: ", "PIN, tail users: ", "PIN, head users: ", "Report: ")


def weights(project):
    folder = project.folder / "data/06_models"
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*/*.safetensors")}


@pytest.mark.parametrize("how", [["--runner=ThreadRunner"], ["--runner=ParallelRunner"]], ids=str)
def test_the_weights_and_the_last_lines_are_those_of_the_sequential_run(finished, tmp_path, how):
    copy = finished.copy(tmp_path / "project")
    shutil.rmtree(copy.folder / "data/06_models")
    done = subprocess.run(
        [sys.executable, "-m", "pinet_kedro", "run", "--pipeline=full", "--env=test", "--from-nodes=train_base",
         "--to-outputs=report", *how],
        cwd=copy.folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert weights(copy) == weights(finished)
    for start in LAST:
        assert f"INFO {start}" in done.stderr
    assert "[1/" in done.stderr
