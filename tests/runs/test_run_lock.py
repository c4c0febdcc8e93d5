"""The hook around a run: the lock is taken before anything is done, and released however the run ends."""

import threading

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager

from pinet_kedro.processes.lock import LockedError, hold
from pinet_kedro.runs.run_lock import RunLock

RUN = {"pipeline_names": ["full"]}


class Refuses:
    @hook_impl(tryfirst=True)
    def before_pipeline_run(self):
        with pytest.raises(LockedError), hold("run"):
            pass
        raise ZeroDivisionError


@pytest.fixture
def manager(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = _create_hook_manager()
    manager.register(RunLock())
    return manager


def begin(manager, run=RUN):
    manager.hook.before_pipeline_run(run_params=run, pipeline=None, catalog=None)


def is_free():
    try:
        with hold("run"):
            return True
    except LockedError:
        return False


@pytest.mark.parametrize("ending", ["after_pipeline_run", "on_pipeline_error"])
def test_the_lock_is_held_until_the_run_ends(manager, ending):
    begin(manager)
    assert not is_free()
    getattr(manager.hook, ending)(run_params=RUN, run_result={}, error=None, pipeline=None, catalog=None)
    assert is_free()


def test_a_run_that_another_hook_refuses_releases_it_and_was_locked_before_that_hook(manager):
    manager.register(Refuses())
    with pytest.raises(ZeroDivisionError):
        begin(manager)
    assert is_free()


def test_a_run_that_was_broken_off_in_this_thread_does_not_block_the_next(manager):
    begin(manager)  # Kedro calls no hook on Ctrl-C
    begin(manager)
    assert not is_free()


def test_a_run_of_another_thread_is_another_run(manager):
    begin(manager)
    refused = []

    def run():
        try:
            begin(manager, {"pipeline_names": ["benchmark"]})
        except LockedError as error:
            refused.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "One run at a time writes to data/" in refused[0]
    assert "--params=benchmark.workers=N" in refused[0]
    assert not is_free()
