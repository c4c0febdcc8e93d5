"""What a model was trained on, for the measurement of drift, where it is in an engine."""

import numpy as np
import pandas as pd

from pinet_kedro.engines.arrays import sorted_arrays
from pinet_kedro.engines.logs import CODES, RawTables
from pinet_kedro.interactions.sequences import Indexed, Sequences
from pinet_kedro.interactions.stored_arrays import mapped_arrays


class EngineReference:
    """As `evaluation.drift.EventsInMemory`, with equal results; in memory are users and items, not events."""

    def __init__(self, log: RawTables) -> None:
        self._log = log

    def counts(self, column: str) -> pd.Series:
        """Number of events of every id, the most frequent first; of equal numbers, the first in the log."""
        code, table = CODES[column], self._log.table.filter(self._log.table[CODES[column]].notnull())
        found = table.group_by(code).agg(events=table.count(), row=table.row.min())
        found = found.order_by(found.events.desc(), "row").select(code, "events").to_pyarrow()
        return pd.Series(found["events"].to_numpy(), self._log.all_names(column).take(found[code].to_numpy()))

    def newest_users(self, number: int) -> pd.Series:
        """The users of the newest events; of equal times, the first in the log."""
        table = self._log.table
        newest = table.order_by(table.timestamp.desc(), "row").limit(number).select("user").to_pyarrow()
        return pd.Series(self._log.all_names("user_id").take(newest["user"].to_numpy()))

    def last(self) -> int:
        """The time of the newest event."""
        return int(self._log.table.timestamp.max().to_pyarrow().as_py())

    def followed_by(self, events: pd.DataFrame) -> Indexed:
        """The sequences of these and of more events, without repetitions; nothing else can be asked afterwards."""
        log = self._log.joined([events], self._log.origin.file)
        counts = log.distinct.group_by("user").agg(events=log.distinct.count()).order_by("user").to_pyarrow()
        folder = log.engine.folder / "arrays"
        sorted_arrays(log.engine, log.distinct, counts["events"].to_numpy().astype(np.int64), folder)
        return mapped_arrays(Sequences, folder), log.all_names("user_id"), log.all_names("item_id")
