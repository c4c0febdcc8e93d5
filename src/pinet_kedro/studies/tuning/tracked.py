"""A trial as a run of the tracking server, nested in the run of the command; a server that is away stops no trial."""

from typing import TYPE_CHECKING, Any

from pinet_kedro.studies.tuning.plan import Plan
from pinet_kedro.studies.tuning.sampling import SLOT
from pinet_kedro.tracking.nested import NestedRun
from pinet_kedro.tracking.run_info import MlflowRun

if TYPE_CHECKING:
    from optuna import Trial

    from pinet_kedro.training.backbone import EpochReport


class TrackedTrial:
    """Parameters, curve, values and state of one trial; does nothing where no run is tracked.

    The curve is sent when the trial ends, and every look at it before: an epoch of a small model is over sooner than a
    request.
    """

    def __init__(self, run: MlflowRun | None, plan: Plan, trial: "Trial") -> None:
        self._waiting: list[Any] = []
        self._run = NestedRun(run, f"trial {trial.number}") if run else None
        self._tags = {
            "study": plan.name,
            "study.storage": plan.address,
            "trial": str(trial.number),
            "trial.slot": str(trial.user_attrs[SLOT]),
            "data.sha256": plan.data.split_sha256,
        }

    def start(self, values: dict[str, Any]) -> None:
        """Opens the run with the values that are tried."""
        if self._run:
            self._run.start(self._tags, values)

    def log_epoch(self, report: "EpochReport") -> None:
        """Loss, validation NDCG and strata weights of an epoch, as steps."""
        if self._run is None:
            return
        from mlflow.entities import Metric

        self._waiting += [Metric(key, value, 0, report.epoch) for key, value in report.row().items()]
        if report.valid_ndcg and report.epoch < report.epochs:
            self._flush()

    def end(self, state: str, status: str, reason: str | None = None, values: dict[str, float] | None = None) -> None:
        """Closes the run with the trial's state and, where there are such, its values or the reason of a failure."""
        if self._run is None:
            return
        from mlflow.entities import Metric

        self._waiting += [Metric(f"valid_{group}", value, 0, 0) for group, value in (values or {}).items()]
        self._flush()
        self._run.end(status, {"trial.state": state} | ({"failure": reason} if reason else {}))

    def _flush(self) -> None:
        assert self._run is not None
        if self._waiting:
            self._run.log(self._waiting)
            self._waiting = []
