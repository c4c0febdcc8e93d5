"""What watches the training of a backbone: the progress bar, the tracking server, the learning curve."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from tqdm import tqdm

from pinet_kedro.tracking.recording import log_epoch
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.training.backbone import EpochReport

log = logging.getLogger("pinet_kedro")

_TITLES = {
    "base": "Training the base",
    "backbone": "Training by aggregation",
    "base_refit": "Refit of the base",
    "pin_refit": "Refit of PIN",
}
_BAR = "{l_bar}{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # with its figures in 120 columns
_LOG_EVERY_S = 10.0  # where no terminal shows a bar


def learning_curve(reports: list[EpochReport]) -> pd.DataFrame:
    """The reports as a table, one row an epoch."""
    return pd.DataFrame([{"epoch": r.epoch, **r.row(), "seconds": r.seconds} for r in reports])


class Watch:
    """The `on_epoch` of a training run; without a `run` nothing is sent to a tracking server."""

    def __init__(self, name: str, run: MlflowRun | None = None) -> None:
        self.name = name
        self._run = run
        self._reports: list[EpochReport] = []
        self._bar: tqdm | None = None
        self._title = _TITLES.get(name, f"Training {name}")
        self._latest, self._logged = "", time.monotonic()

    def __call__(self, report: EpochReport) -> None:
        self._reports.append(report)
        log_epoch(self._run, self.name, report)
        if report.valid_ndcg:
            known = [group for group in ("head", "tail") if group in report.valid_ndcg]  # one may have no targets
            values = ", ".join(f"{group} {report.valid_ndcg[group]:.4f}" for group in known)
            self._latest = f", validation NDCG@10 {values}"
        reached = f"loss {report.loss:.3f}{self._latest}"
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=report.epochs, desc=self._title, bar_format=_BAR)
            self._bar.set_postfix_str(reached, refresh=False)
            self._bar.update()
        elif report.epoch == report.epochs or time.monotonic() - self._logged >= _LOG_EVERY_S:
            log.info("%s: epoch %d of %d, %s", self._title, report.epoch, report.epochs, reached)
            self._logged = time.monotonic()

    def curve(self) -> pd.DataFrame:
        """`learning_curve` under the model's name."""
        curve = learning_curve(self._reports)
        curve.insert(0, "model", self.name)
        return curve

    def close(self) -> None:
        """Ends the progress bar."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def watch_training(name: str, run: MlflowRun | None = None) -> Iterator[Watch]:
    """A watch on the training of the model of this name, as part of a run."""
    watch = Watch(name, run)
    try:
        yield watch
    finally:
        watch.close()
