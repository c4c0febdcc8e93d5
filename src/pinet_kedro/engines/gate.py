"""The gates on logs in an engine: the same suites, messages and Data Docs, with the rules on events as aggregates."""

from typing import Any

import pandas as pd

from pinet_kedro.engines.rules import check_events
from pinet_kedro.interactions.events import Interactions
from pinet_kedro.validation.checks import Checked
from pinet_kedro.validation.gate import ExpectationGate, strata_of


class EngineGate(ExpectationGate):
    """Catalog validator of logs in an engine; tables of users and strata are checked as ever, in memory.

    So are events in memory, such as those of partitions without a raw log.
    """

    def validate(self, data: Any) -> Any:
        """As `ExpectationGate.validate`; nothing of a log that is refused stays in the engine."""
        try:
            return super().validate(data)
        except Exception:
            Interactions.of(data).close()
            raise

    def _frame(self, data: Any, table: str) -> pd.DataFrame:
        if isinstance(data, Interactions):
            return super()._frame(data, table)
        if table == "events":
            return data.frame(None)
        frame = data.users
        frame = frame if table == "users" else strata_of(frame)
        return frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0)

    def _check(self, suite: dict[str, Any], table: str, frame: pd.DataFrame, data: Any) -> Checked:
        if table == "events" and not isinstance(data, Interactions):
            return check_events(suite, frame, data)
        return super()._check(suite, table, frame, data)
