"""Whether there is anything to retrain on. Quick where there is not: it imports neither torch nor MLflow."""

from typing import Any

from pinet_kedro.errors import NothingToDo
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import Delivery, work_key
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.validation.suites import read_suites


def require_new(delivery: Delivery, config: Retraining, registry: Tracking, parameters: dict[str, Any]) -> Delivery:
    """The delivery itself; raises `NothingToDo` where no partition is new, and `SuiteError` for an unusable suite.

    A run that was killed after its promotion and before its partitions counted as taken is completed here: they count
    as taken now, and there is nothing to do.
    """
    if not delivery.new:
        taken = f"all {len(delivery.taken)} partitions have been taken before"
        raise NothingToDo(f"Nothing new: {taken if delivery.taken else f'there is no file in {delivery.folder}'}.")
    read_suites(config.suite)
    if any(partition.changed for partition in delivery.new.values()):
        return delivery
    from pinet_kedro.retraining.steps import finished_before  # torch and MLflow take 3 s

    version = finished_before(registry, work_key(delivery.contents(), parameters))
    if version is None:
        return delivery
    delivery.confirm()
    raise NothingToDo(
        f"The run that was interrupted had trained on {len(delivery.new)} new partitions and made version {version} "
        "the champion. They count as taken now; nothing else is new."
    )
