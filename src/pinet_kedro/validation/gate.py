"""The gates of Great Expectations: bad data stop the run before work is wasted, with a message that says what to do.

A suite file holds Great Expectations suites by the table that they check (`_TABLES`). Of an expectation, `description`
is the rule in words, `notes` is the way out ({source}, {role}, {nearest} and {file} are filled in), and `meta.only_for`
restricts it to data with real clock times ("clock"), with an optional column (its name), or to whole logs ("log"; one
partition of a log may be small).
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.interactions.events import Interactions, Origin
from pinet_kedro.validation.checks import COLUMN_EXISTS, Checked, broken_rules, check, is_meant
from pinet_kedro.validation.data_docs import DATA_DOCS, DataDocs
from pinet_kedro.validation.messages import Wording, problem_of, short, verdict
from pinet_kedro.validation.suites import SuiteError, ValidationFailedError, columns_of, read_suites

# Great Expectations raises what matters; its modules set log levels of their own, so a level here would not do.
logging.getLogger("great_expectations").propagate = False
logging.getLogger("great_expectations").addHandler(logging.NullHandler())

_Data = TypeVar("_Data", Interactions, pd.DataFrame)


class ExpectationGate:
    """Catalog validator: lets data pass that meet a suite, and writes Data Docs whether they do or not."""

    def __init__(self, suite: str, data_docs: str = DATA_DOCS) -> None:
        """`suite`: JSON file; `data_docs`: folder of the pages; both relative to the project's folder."""
        self._suite = suite
        self._data_docs = data_docs

    def validate(self, data: _Data) -> _Data:
        """The data as they came; raises `ValidationFailedError` when they break a rule.

        A bare table, such as a user's own dataset may load, is checked as data of unknown origin.
        """
        if (own := getattr(data, "gate", None)) is not None and not isinstance(self, own):
            return own(self._suite, self._data_docs).validate(data)  # a log in an engine
        interactions = Interactions.of(data)
        origin, wording = interactions.origin, Wording(interactions)
        checked: list[Checked] = []
        problems: list[str] = []
        with warnings.catch_warnings(action="ignore"):
            for table, suite in read_suites(self._suite).items():
                frame = self._frame(interactions, table)
                self._check_columns(suite, table, frame, origin)
                try:
                    checked.append(self._check(suite, table, frame, interactions))
                except SuiteError:
                    raise
                # Whatever a suite edited by hand can provoke; the errors of Great Expectations share no narrower base.
                except Exception as error:
                    raise ValidationFailedError(f"{self._suite}, {table}: {short(error, 300)}") from error
                broken = broken_rules(checked[-1].result, suite)
                problems = [problem_of(rule, checked[-1], wording, self._suite) for rule in broken]
                if problems:
                    break  # a table that is made of a broken one would only repeat the complaint
            rules = sum(len(part.result.results) for part in checked)
            if not rules:
                raise SuiteError(f"{self._suite}: none of its rules is about {wording.file}; nothing is checked.")
            subject = suite.get("meta", {}).get("subject", "{file}").replace("{file}", wording.file)
            message = verdict(subject, self._suite, rules, problems)
            docs = DataDocs(self._data_docs, self._suite).write(checked, message, wording)
        if problems:
            raise ValidationFailedError(f"{message}\n{docs}")
        return data

    def record(self, content: str) -> None:
        """Notes the sha256 of what was stored of the data that passed last."""
        DataDocs(self._data_docs, self._suite).record(content)

    def _frame(self, data: Interactions, table: str) -> pd.DataFrame:
        """The table, its rows labelled by their numbers from 1."""
        frame = _TABLES[table](data.events)
        return frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0)

    def _check(self, suite: dict[str, Any], table: str, frame: pd.DataFrame, data: Interactions) -> Checked:
        """What Great Expectations finds in the table."""
        return Checked(table, frame, suite, check(suite, frame, data.origin))

    def _check_columns(self, suite: dict[str, Any], table: str, frame: pd.DataFrame, origin: Origin) -> None:
        """Refuses a rule on a column that is not there, where no other rule reports that it is missing."""
        rules = [rule for rule in suite["expectations"] if is_meant(rule, origin)]
        exist = {c for rule in rules if rule["type"] == COLUMN_EXISTS for c in columns_of(rule["kwargs"])}
        for rule in rules:
            for column in columns_of(rule["kwargs"]):
                if column not in exist and column not in frame.columns:
                    raise SuiteError(
                        f"{self._suite}, {table}: {rule['type']} is about a column '{column}', and there is none. The "
                        f"columns are {', '.join(map(str, frame.columns))}; a rule on an optional one says so with "
                        f'"meta": {{"only_for": "{column}"}}.'
                    )


def _users(events: pd.DataFrame) -> pd.DataFrame:
    """One row a user, in the order of their first events: `user_id, activeness` (events)."""
    return events["user_id"].value_counts(sort=False).rename("activeness").rename_axis("user_id").reset_index()


def strata_of(users: pd.DataFrame) -> pd.DataFrame:
    """One row a stratum of these users, tail and head: `stratum, users, events`."""
    activeness = users["activeness"].astype("int64")
    strata = fit_strata(activeness.to_numpy(), Stratification()).head_tail.assign(activeness.to_numpy())
    table = activeness.groupby(strata).agg(["size", "sum"]).set_axis(["users", "events"], axis=1)
    return table.rename(index={0: "tail", 1: "head"}).reset_index(names="stratum")


_TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "events": lambda events: events, "users": _users, "strata": lambda events: strata_of(_users(events))
}  # fmt: skip
