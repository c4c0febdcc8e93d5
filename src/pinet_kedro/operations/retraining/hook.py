"""Around `kedro run --pipeline=retraining`: one at a time, and nothing at all where nothing is new."""

import logging
from contextlib import ExitStack
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol

from pinet_kedro.errors import NothingToDo
from pinet_kedro.operations.provenance import plain
from pinet_kedro.operations.registry.config import Tracking
from pinet_kedro.operations.retraining.partitions import Delivery, work_key

log = logging.getLogger("pinet_kedro")

PIPELINE = "retraining"


class RetrainingGuard:
    """Holds the project's lock while a round runs, and ends it before it starts where there is no work."""

    def __init__(self) -> None:
        self._held = ExitStack()

    @hook_impl(tryfirst=True)  # before a run is tracked, and before torch or mlflow are imported
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Raises `NothingToDo` where no partition is new."""
        if PIPELINE not in (run_params["pipeline_names"] or ()):
            return
        from pinet_kedro.operations.lock import hold

        self._held.close()  # of a run in this process that another hook has refused
        self._held.enter_context(hold(PIPELINE))
        try:
            self._look(catalog)
        except BaseException:
            self._held.close()
            raise

    def _look(self, catalog: CatalogProtocol) -> None:
        delivery: Delivery = catalog.load("new_interactions")
        if not delivery.new:
            taken = f"all {len(delivery.taken)} partitions have been taken before"
            raise NothingToDo(f"Nothing new: {taken if delivery.taken else f'there is no file in {delivery.folder}'}.")
        if any(partition.changed for partition in delivery.new.values()):
            return
        from pinet_kedro.operations.retraining.round import finished_before

        # A round that was killed after its last word and before its checkpoint has nothing left to do but that.
        parameters = catalog.load("parameters")
        registry = Tracking.model_validate(plain(parameters)["tracking"])
        version = finished_before(registry, work_key(delivery.contents(), parameters))
        if version is not None:
            catalog.confirm("new_interactions")  # type: ignore[attr-defined]
            raise NothingToDo(
                f"The run that was interrupted had trained on {len(delivery.new)} new partitions and made version "
                f"{version} the champion. They count as taken now; nothing else is new."
            )

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Releases the lock."""
        self._held.close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Releases the lock."""
        self._held.close()
