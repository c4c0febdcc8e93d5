"""The gates on logs in an engine: the same suites, messages and Data Docs, with the rules on events as aggregates."""

from typing import Any

import pandas as pd

from pinet_kedro.engines.rules import check_events
from pinet_kedro.validation.checks import Checked
from pinet_kedro.validation.gate import ExpectationGate, strata_of


class EngineGate(ExpectationGate):
    """Catalog validator of logs in an engine; tables of users and strata are checked as ever, in memory."""

    def validate(self, data: Any) -> Any:
        """As `ExpectationGate.validate`; nothing of a log that is refused stays in the engine."""
        try:
            return super().validate(data)
        except Exception:
            data.engine.close()
            raise

    def _frame(self, data: Any, table: str) -> pd.DataFrame:
        if table == "events":
            return data.frame(None)
        frame = data.users
        frame = frame if table == "users" else strata_of(frame)
        return frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0)

    def _check(self, suite: dict[str, Any], table: str, frame: pd.DataFrame, data: Any) -> Checked:
        return check_events(suite, frame, data) if table == "events" else super()._check(suite, table, frame, data)
