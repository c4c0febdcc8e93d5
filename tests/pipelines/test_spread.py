"""`backbone_training.processes`: one training on several processes, and what is left where one of them is killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from pinet_kedro.backbones.config import SASRecConfig
from pinet_kedro.errors import EndedError
from pinet_kedro.pipelines.backbone_training import together
from pinet_kedro.pipelines.backbone_training.together import Training, train_together
from pinet_kedro.recommender import load_model
from pinet_kedro.tracking.watching import Watch
from pinet_kedro.training.backbone import train_backbone

SOURCE = Path(__file__).parents[2] / "src"
TRAIN = ("--pipeline=backbone_training", "--env=test")


@pytest.fixture
def two(small_training):
    """A training on two processes, without dropout."""
    backbone = SASRecConfig(width=16, blocks=1, heads=2, max_length=10, dropout=0.0)
    return small_training.model_copy(update={"processes": 2, "backbone": backbone})


def training_of(dataset, config, on_epoch):
    return Training(dataset, config, None, on_epoch, nullcontext)


def test_both_models_are_those_of_trainings_alone(planted_world, two, monkeypatch):
    """Four processes at once, which the machine need not have cores for."""
    monkeypatch.setattr(together, "_worth_processes", lambda trainings: True)
    configs, reports = {"base": two.joint(), "backbone": two}, {"base": [], "backbone": []}
    dataset = planted_world.dataset
    users = dataset.validation_users
    histories = torch.from_numpy(dataset.sequences.windows(users, dataset.split.valid_at[users], 10))
    trained = train_together({n: training_of(dataset, c, reports[n].append) for n, c in configs.items()})
    for name, config in configs.items():
        alone = []
        expected = train_backbone(dataset, config, alone.append)
        # Scores, because the biases of keys change nothing and follow what rounding leaves of their gradients.
        with torch.no_grad():
            scores, of_one = (model.read(histories)[1] for model in (trained[name], expected))
        torch.testing.assert_close(scores, of_one, rtol=1e-3, atol=1e-2)
        assert [r.loss for r in reports[name]] == pytest.approx([r.loss for r in alone], rel=1e-4)
        assert reports[name][-1].valid_ndcg == pytest.approx(alone[-1].valid_ndcg, rel=1e-2)
        assert all(report.model is None for report in reports[name])


def kill_one(which=0):
    """Kills one of the processes that this one has started."""
    os.kill(active_children()[which].pid, signal.SIGKILL)


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_process_ends_the_training_within_seconds(planted_world, two, which):
    killed = []

    def kill(report):
        if not killed:
            kill_one(which)
            killed.append(time.monotonic())

    long = two.model_copy(update={"schedule": two.schedule.model_copy(update={"epochs": 100_000})})
    with pytest.raises(EndedError, match="exit code -9"):
        training_of(planted_world.dataset, long, kill).here()
    assert time.monotonic() - killed[0] < 5
    assert active_children() == []


def models(project):
    """Contents of all models and curves."""
    files = sorted(path for path in (project.folder / "data/06_models").rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(before, after):
    """The models with other weights; there are no other files than before."""
    assert after.keys() == before.keys()
    return {Path(path).parent.name for path in after if path.endswith(".safetensors") and after[path] != before[path]}


def test_a_run_trains_on_two_processes_and_later_stages_take_its_models(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    before = models(project)
    done = project.run(*TRAIN, "--params=backbone_training.processes=2,backbone_training.backbone.dropout=0.0")
    assert done.exit_code == 0, done.output
    assert active_children() == []
    assert changed(before, models(project)) == {"base", "deconfounded"}
    # Where it was trained is not part of what it was trained with.
    done = project.run("--pipeline=plugin_training", "--env=test", "--params=backbone_training.backbone.dropout=0.0")
    assert done.exit_code == 0, done.output


def test_a_run_whose_process_is_killed_says_so_in_a_sentence_and_stores_nothing(finished, tmp_path, monkeypatch):
    project = finished.copy(tmp_path / "project")
    before = models(project)
    monkeypatch.setattr(Watch, "__call__", lambda self, report: kill_one())
    done = project.run(*TRAIN, "--params=backbone_training.processes=2,backbone_training.schedule.epochs=100000")
    assert done.exit_code == 1
    assert "exit code -9" in done.output
    assert "Traceback" not in done.output
    assert models(project) == before
    assert active_children() == []


@pytest.mark.parametrize(
    ("setting", "words"), [("backbone.width=4096", "256 processes at once"), ("device=cuda", "'cuda:255'")]
)
def test_more_processes_than_the_machine_can_hold_are_refused_before_any_work(project, setting, words):
    settings = f"backbone_training.processes=256,backbone_training.{setting}"
    done = project.run("--pipeline=full", "--env=test", f"--params={settings}")
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output
    assert not models(project)


def test_torchrun_trains_in_all_its_processes_and_the_first_one_writes(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    before = models(project)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    settings = "--params=backbone_training.backbone.dropout=0.0"
    done = subprocess.run(
        [*command, "-m", "pinet_kedro.torchrun", "run", *TRAIN, settings],
        cwd=project.folder, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Training the base: epoch 3 of 3") == 1
    assert changed(before, models(project)) == {"base", "deconfounded"}
    one = finished.copy(tmp_path / "one")
    assert one.run(*TRAIN, settings).exit_code == 0
    histories = torch.randint(1, 50, (20, 10), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores, of_one = (
            load_model(place.folder / "data/06_models/base").backbone.read(histories)[1] for place in (project, one)
        )
    torch.testing.assert_close(scores, of_one, rtol=1e-3, atol=1e-2)
