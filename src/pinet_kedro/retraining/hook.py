"""Before `kedro run --pipeline=retraining`: nothing at all is done where nothing is new."""

import logging
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol

from pinet_kedro.errors import NothingToDo
from pinet_kedro.parameters import plain
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import Delivery, work_key
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.validation.suites import read_suites

log = logging.getLogger("pinet_kedro")

PIPELINE = "retraining"


class RetrainingGuard:
    """Ends a round before it starts where there is no work."""

    @hook_impl(tryfirst=True)  # before a run is tracked, and before torch or mlflow are imported
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Raises `NothingToDo` where no partition is new."""
        if PIPELINE in (run_params["pipeline_names"] or ()):
            self._look(catalog)

    def _look(self, catalog: CatalogProtocol) -> None:
        delivery: Delivery = catalog.load("new_interactions")
        if not delivery.new:
            taken = f"all {len(delivery.taken)} partitions have been taken before"
            raise NothingToDo(f"Nothing new: {taken if delivery.taken else f'there is no file in {delivery.folder}'}.")
        parameters = catalog.load("parameters")
        read_suites(Retraining.model_validate(plain(parameters)["retraining"]).suite)
        if any(partition.changed for partition in delivery.new.values()):
            return
        from pinet_kedro.retraining.steps import finished_before

        # A round that was killed after its last word and before its checkpoint has nothing left to do but that.
        registry = Tracking.model_validate(plain(parameters)["tracking"])
        version = finished_before(registry, work_key(delivery.contents(), parameters))
        if version is not None:
            catalog.confirm("new_interactions")  # type: ignore[attr-defined]
            raise NothingToDo(
                f"The run that was interrupted had trained on {len(delivery.new)} new partitions and made version "
                f"{version} the champion. They count as taken now; nothing else is new."
            )
