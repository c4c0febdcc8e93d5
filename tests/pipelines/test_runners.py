"""All of Kedro's runners train the same models and report the same at the end."""

import hashlib
import shutil

import pytest

RUN = (
    "--pipeline=full",
    "--env=test",
    "--from-nodes=backbone_training.train_backbones",
    "--to-outputs=report",
)
LAST = ("Trained: ", "Base: ", "PIN, tail users: ", "PIN, head users: ", "Report: ")


@pytest.fixture
def untrained(finished, tmp_path):
    """A copy of the finished project without its models."""
    copy = finished.copy(tmp_path / "project")
    shutil.rmtree(copy.folder / "data/06_models")
    return copy


def weights(project):
    """Of the models that the report is of: the run ends before the one that is shipped."""
    found = {path.parent.name: path for path in (project.folder / "data/06_models").glob("*/*.safetensors")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items() if name != "shipped"}


def test_nodes_in_threads_give_the_weights_and_the_last_lines_of_the_sequential_run(finished, untrained, caplog):
    with caplog.at_level("INFO", logger="pinet_kedro"):
        done = untrained.run(*RUN, "--runner=ThreadRunner")
    assert done.exit_code == 0, done.output
    assert weights(untrained) == weights(finished)
    messages = [record.getMessage() for record in caplog.records]
    for start in (*LAST, "[1/"):
        assert any(message.startswith(start) for message in messages), start


def test_nodes_in_processes_give_the_weights_and_the_last_lines_of_the_sequential_run(finished, untrained):
    process = untrained.fork("run", *RUN, "--runner=ParallelRunner")
    assert process.wait() == 0, process.said
    assert weights(untrained) == weights(finished)
    for start in (*LAST, "[1/"):
        assert any(line.startswith(start) for line in process.said.splitlines()), start
