"""What happens once, before the work of a run begins."""

import threading
from collections.abc import Callable
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, SharedMemoryDataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from pinet_kedro.pipelines.tags import CHECK

_Starter = Callable[[dict[str, Any], Pipeline, CatalogProtocol], None]


class WorkStart:
    """Calls the starters before the run; where the pipeline begins with nodes tagged `check`, after these.

    A check may end the run in a second, before anything slow is imported or a run is tracked. All other nodes must come
    after it. `ParallelRunner` has its nodes in other processes, where nothing can be started for all: before the run.
    """

    def __init__(self, *starters: _Starter) -> None:
        self._starters = starters
        self._lock = threading.Lock()  # nodes and their datasets may be in threads
        self._waiting: tuple[dict[str, Any], Pipeline, CatalogProtocol] | None = None

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Starts, or waits for the checks."""
        self._waiting = run_params, pipeline, catalog
        checks = any(CHECK in node.tags for node in pipeline.nodes)
        if not checks or isinstance(catalog, SharedMemoryDataCatalog):
            self._start()

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Starts with the first node that is no check."""
        if CHECK not in node.tags:
            self._start()

    def _start(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                for start in self._starters:
                    start(*waiting)
