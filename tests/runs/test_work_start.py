"""What starts a run waits for the checks, and is called once."""

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset, SharedMemoryDataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner, ThreadRunner

from pinet_kedro.errors import NothingToDo
from pinet_kedro.pipelines.tags import CHECK
from pinet_kedro.runs.work_start import WorkStart


def nothing_new(value):
    raise NothingToDo("nothing new")


def run(first, catalog=DataCatalog, runner=SequentialRunner, tags=(CHECK,)):
    """The events of a run of a check, two nodes after it and a last one, in order."""
    events = []

    class Nodes:
        @hook_impl
        def after_node_run(self, node):
            events.append(node.name)

    pipeline = Pipeline(
        [
            node(first, "raw", "new", name="check", tags=tags),
            node(lambda new: new, "new", "a", name="a"),
            node(lambda new: new, "new", "b", name="b"),
            node(lambda a, b: (a, b), ["a", "b"], "out", name="last"),
        ]
    )
    manager = _create_hook_manager()
    manager.register(Nodes())
    manager.register(WorkStart(lambda *given: events.append("checked"), lambda *given: events.append("tracked")))
    catalog = catalog({"raw": MemoryDataset(1)})
    manager.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=catalog)
    try:
        if runner is not None:
            runner().run(pipeline, catalog, manager)
    except NothingToDo:
        events.append("ended")
    return events


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner])
def test_work_starts_once_and_after_the_check(runner):
    events = run(lambda raw: raw, runner=runner)
    assert events[:3] == ["check", "checked", "tracked"]
    assert sorted(events[3:]) == ["a", "b", "last"]


def test_a_check_that_ends_the_run_starts_nothing():
    assert run(nothing_new) == ["ended"]


def test_without_a_check_work_starts_before_the_first_node():
    assert run(lambda raw: raw, tags=()) == ["checked", "tracked", "check", "a", "b", "last"]


def test_with_nodes_in_other_processes_work_starts_before_them():
    assert run(lambda raw: raw, SharedMemoryDataCatalog, runner=None) == ["checked", "tracked"]
