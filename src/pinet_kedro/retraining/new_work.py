"""Whether there is anything to retrain on. Quick where there is not: it imports neither torch nor MLflow."""

from typing import TYPE_CHECKING, Any

from pinet_kedro.errors import NothingToDo
from pinet_kedro.reporting.text import plural
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import Delivery, work_key
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.validation.suites import read_suites

if TYPE_CHECKING:
    from pinet_kedro.datasets.raw_log import RawLog


def require_new(
    delivery: Delivery,
    raw_log: "RawLog | None",
    config: Retraining,
    registry: Tracking,
    parameters: dict[str, Any],
) -> Delivery:
    """The delivery itself, with the stamp of the raw log if that is part of the training data.

    Raises `NothingToDo` where no partition is new and the raw log is the one of the last success, and `SuiteError` for
    an unusable suite.

    A run that was killed after its promotion and before its partitions counted as taken is completed here: they count
    as taken now, and there is nothing to do.
    """
    if not delivery.new and not (raw_log and raw_log.differs(delivery.raw_log_taken)):
        number = len(delivery.taken)
        taken = "the only partition has" if number == 1 else f"all {number:,} partitions have"
        why = f"{taken} been taken before" if number else f"there is no file in {delivery.folder}"
        raise NothingToDo(f"Nothing new: {why}.")
    read_suites(config.suite)
    delivery.raw_log = None if raw_log is None else raw_log.stamped(delivery.raw_log_taken)
    if delivery.changed:
        return delivery
    from pinet_kedro.retraining.steps import finished_before  # torch and MLflow take 3 s

    version = finished_before(registry, work_key(delivery.contents(), parameters))
    if version is None:
        return delivery
    delivery.confirm()
    raise NothingToDo(
        f"The run that was interrupted had trained on {plural(len(delivery.new), 'new partition')} and made version "
        f"{version} the champion. What it has learnt counts as taken now; nothing else is new."
    )
