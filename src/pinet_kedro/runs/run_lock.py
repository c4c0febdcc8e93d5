"""One run at a time writes to a project's `data/`."""

import atexit
import threading
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

from kedro.framework.hooks import hook_impl

from pinet_kedro.processes.lock import hold

_ADVICE = "One run at a time writes to data/: wait for it to end, or end it."
# Whoever starts a study twice wants more workers.
_MORE = {
    "tuning": " More workers on this machine: --params=tuning.workers=N. Another checkout of the project joins the "
    "study with the same tuning.storage (docs/tuning.md).",
    "benchmark": " More workers on this machine: --params=benchmark.workers=N.",
}


class RunLock:
    """Holds the project's lock during a run, however the run ends."""

    def __init__(self) -> None:
        # By thread: a run in another thread is another run, like one in another process.
        self._of_thread = threading.local()

    # Around all other hooks: before a run is tracked, and before torch or mlflow are imported.
    @hook_impl(wrapper=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> Generator[None, Any, Any]:
        """Raises `LockedError` where another run is at work; releases the lock where another hook refuses the run."""
        self._release()  # a run in this thread may have ended by Ctrl-C
        more = "".join(_MORE.get(name, "") for name in run_params["pipeline_names"] or ())
        held = self._of_thread.held = ExitStack()
        held.enter_context(hold("run", advice=_ADVICE + more))
        atexit.register(held.close)  # Kedro calls no hook where a signal ends the run
        try:
            return (yield)
        except BaseException:
            self._release()
            raise

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Releases the lock."""
        self._release()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Releases the lock."""
        self._release()

    def _release(self) -> None:
        held = getattr(self._of_thread, "held", None)
        if held is not None:
            held.close()
            atexit.unregister(held.close)
            self._of_thread.held = None
