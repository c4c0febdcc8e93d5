"""What watches the training of a backbone: the progress bar, the tracking server, the learning curve."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from tqdm import tqdm

from pinet_kedro.tracking.recording import log_epoch
from pinet_kedro.tracking.run_info import MlflowRun
from pinet_kedro.training.backbone import EpochReport


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
        self._latest: dict[str, str] = {}

    def __call__(self, report: EpochReport) -> None:
        self._reports.append(report)
        log_epoch(self._run, self.name, report)
        if self._bar is None:
            # On a terminal the bar moves with every epoch; in a log file one line in ten seconds is enough.
            interval = 0.1 if sys.stderr.isatty() else 10
            self._bar = tqdm(total=report.epochs, desc=f"training {self.name}", unit="epoch", mininterval=interval)
        if report.valid_ndcg:
            known = [group for group in ("head", "tail") if group in report.valid_ndcg]  # one may have no targets
            self._latest = {f"{group} NDCG": f"{report.valid_ndcg[group]:.4f}" for group in known}
        self._bar.set_postfix({"loss": f"{report.loss:.3f}", **self._latest}, refresh=False)
        self._bar.update()

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
