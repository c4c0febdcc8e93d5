"""The base and the deconfounded backbone, trained at once in two processes."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from pinet_kedro.pipelines.backbone_training import together
from pinet_kedro.pipelines.backbone_training.together import Training, train_together
from pinet_kedro.training.backbone import DivergedError, train_backbone
from pinet_kedro.training.config import BackboneTraining
from pinet_kedro.training.memory import backbone_needs


@pytest.fixture
def two_processes(monkeypatch):
    """Whatever the machine and the work."""
    monkeypatch.setattr(together, "_worth_processes", lambda trainings: True)


def both(dataset, config, guard=lambda name: nullcontext(), **changes):
    """The two trainings and the lists of their reports; `changes` are settings of the second one's schedule."""
    reports = {"base": [], "backbone": []}
    other = config.model_copy(update={"schedule": config.schedule.model_copy(update=changes)})
    trainings = {
        name: Training(dataset, c, None, reports[name].append, lambda name=name: guard(name))
        for name, c in (("base", config.joint()), ("backbone", other))
    }
    return trainings, reports


def test_both_models_are_those_of_trainings_alone(planted_world, small_training, two_processes):
    trainings, reports = both(planted_world.dataset, small_training)
    trained = train_together(trainings)
    for name, config in (("base", small_training.joint()), ("backbone", small_training)):
        alone = []
        expected = train_backbone(planted_world.dataset, config, alone.append).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in trained[name].state_dict().items())
        assert [report.row() for report in reports[name]] == [report.row() for report in alone]


def test_a_training_that_diverges_in_the_other_process_ends_both_under_its_own_name(
    planted_world, small_training, two_processes
):
    seen = []

    @contextmanager
    def guard(name):
        try:
            yield
        except DivergedError:
            seen.append(name)
            raise

    trainings, _ = both(planted_world.dataset, small_training, guard, learning_rate=1e30)
    with pytest.raises(DivergedError, match="learning_rate"):
        train_together(trainings)
    assert seen == ["backbone"]


def test_short_trainings_get_no_process(planted_world, small_training):
    trainings, _ = both(planted_world.dataset, small_training)
    assert not together._worth_processes(list(trainings.values()))


@pytest.mark.parametrize(
    ("cores", "free", "expected"), [(2, 2**40, True), (1, 2**40, False), (2, 0, False)], ids=["room", "core", "memory"]
)
def test_long_trainings_get_processes_where_there_are_cores_and_memory(
    planted_world, small_training, monkeypatch, cores, free, expected
):
    monkeypatch.setattr(together, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(together, "cores", lambda: cores)
    monkeypatch.setattr(together, "free_bytes", lambda: free)
    trainings, _ = both(planted_world.dataset, small_training)
    assert together._worth_processes(list(trainings.values())) is expected


def test_trainings_on_several_processes_need_cores_and_memory_for_all(planted_world, small_training, monkeypatch):
    monkeypatch.setattr(together, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(together, "cores", lambda: 4)
    trainings = {n: list(both(planted_world.dataset, small_training.model_copy(update={"processes": n}))[0].values())
                 for n in (1, 2, 3)}  # fmt: skip
    assert [together._worth_processes(trainings[n]) for n in trainings] == [True, True, False]
    need = sum(need.bytes for t in trainings[2] for need in together.backbone_memory(t.dataset, t.config))
    monkeypatch.setattr(together, "free_bytes", lambda: 1.5 * need)
    assert [together._worth_processes(trainings[n]) for n in (1, 2)] == [True, False]


@pytest.mark.parametrize(
    ("rule", "loss", "strata"),
    [
        ({"rule": "backdoor"}, "full_softmax", 0),
        ({"rule": "balanced"}, "sampled_softmax", 0),
        ({"rule": "deconfounded"}, "sampled_softmax", 5),
        ({"rule": "deconfounded", "parameters": "body"}, "bce", 0),
        ({"rule": "group_dro"}, "full_softmax", 5),
        ({"rule": "group_dro"}, "sampled_softmax", 0),
    ],
)
def test_memory_for_gradients_of_strata_is_needed_only_where_they_are_kept(rule, loss, strata):
    """A refused run would certainly fail; that of a rule that only weighs the strata would not."""
    settings = {"backbone": {"name": "sasrec"}, "loss": {"name": loss}, "schedule": {}}
    joint, aggregating = (
        backbone_needs(BackboneTraining.model_validate({**settings, "aggregation": given}), n_items=10**6, strata=5)[0]
        for given in (None, rule)
    )
    assert aggregating.bytes == joint.bytes * (6 + strata) / 6


def test_a_few_long_histories_do_not_count_beyond_what_a_step_reads(planted_world, small_training):
    dataset, length = planted_world.dataset, small_training.backbone.max_length
    ends = np.full_like(dataset.split.train_end, 2)
    found = []
    for longest in (length, 100 * length):
        ends[:10] = longest
        data = replace(dataset, split=replace(dataset.split, train_end=ends.copy()))
        found.append([need.bytes for need in together.backbone_memory(data, small_training)])
    assert found[0] == found[1]
