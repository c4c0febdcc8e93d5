"""What Great Expectations finds in a table of events, by aggregates of an engine (its own SQL fails on some of them).

A rule, or an argument of one, that has no aggregate here is refused, never skipped.
"""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from pinet_kedro.engines.engine import whole_number
from pinet_kedro.interactions.events import Origin
from pinet_kedro.validation.checks import COLUMN_EXISTS, PAGE_ROWS, Checked, applies, latest
from pinet_kedro.validation.suites import SuiteError

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from ibis.expr.types import BooleanValue, Table

_Rule = dict[str, Any]
_TYPES = {"user_id": "str", "item_id": "str", "timestamp": "int64", "rating": "float64"}  # of every log in an engine
_NOT_NULL = "expect_column_values_to_not_be_null"
_BETWEEN = "expect_column_values_to_be_between"
_UNIQUE = "expect_compound_columns_to_be_unique"
_ROWS = "expect_table_row_count_to_be_between"
_DISTINCT = "expect_column_unique_value_count_to_be_between"
_OF_TYPE = "expect_column_values_to_be_of_type"
_BOUNDS = {"min_value", "max_value"}
_ARGUMENTS = {
    COLUMN_EXISTS: {"column"},
    _ROWS: _BOUNDS,
    _OF_TYPE: {"column", "type_"},
    _DISTINCT: {"column"} | _BOUNDS,
    _NOT_NULL: {"column", "mostly"},
    _BETWEEN: {"column", "mostly"} | _BOUNDS,
    _UNIQUE: {"column_list", "mostly"},
}


class EventTable(Protocol):
    """Events in an engine: `table` has the columns `row` and those of `places` (canonical name -> column)."""

    origin: Origin
    places: dict[str, str]
    rows: int

    @property
    def table(self) -> "Table": ...

    def number_of(self, column: str) -> int:
        """How many distinct values a column, by its canonical name, has."""

    def known_unique(self, columns: list[str]) -> bool:
        """Whether it is known, without groups, that no two rows are equal in these columns."""

    def groups(self, columns: list[str]) -> Iterable["Table"]:
        """The distinct values of these columns, with their numbers of `rows` and the first `row`, in some tables."""

    def frame(self, rows: list[int] | None) -> pd.DataFrame:
        """These rows in canonical types, labelled by their numbers from 1; with None any row, if there is one."""


def check_events(suite: dict[str, Any], frame: pd.DataFrame, data: EventTable) -> Checked:
    """The result of the rules that apply, and the first rows that break them; `frame`: any row, to show the columns.

    Raises `SuiteError` for a rule that has no aggregate here.
    """
    from great_expectations.core import ExpectationSuiteValidationResult

    rules = [_ready(rule) for rule in suite["expectations"] if applies(rule, frame, data.origin)]
    breaking = _breaking_rows(rules, data)
    results, shown = [], [frame]
    for number, rule in enumerate(rules):
        found = _on_table(rule, data) if number not in breaking else _on_rows(rule, breaking[number], data)
        if rows := found.pop("rows", None):
            shown.append(data.frame(rows))
            found["unexpected_index_list"] = shown[-1].index.tolist()
        results.append(_result(rule, found))
    good = sum(bool(result.success) for result in results)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100 * good / len(results) if results else None,
    }
    whole = ExpectationSuiteValidationResult(
        good == len(results), results, suite["name"], statistics=statistics, meta={"engine": data.origin.file}
    )
    rows_shown = pd.concat(shown)
    return Checked("events", rows_shown[~rows_shown.index.duplicated()], suite, whole)


def _ready(rule: _Rule) -> _Rule:
    """The rule with its parameters replaced by values. Raises `SuiteError` if it has no aggregate here."""
    kind, kwargs = rule["type"], dict(rule["kwargs"])
    if kind not in _ARGUMENTS:
        raise SuiteError(
            f"{kind} has no form on an engine; there are {', '.join(sorted(_ARGUMENTS))}. Use one of these, or prepare "
            "the data with pandas (an environment without an engine)."
        )
    if unknown := sorted(kwargs.keys() - _ARGUMENTS[kind]):
        raise SuiteError(
            f"{kind} takes no {unknown[0]} on an engine, only {', '.join(sorted(_ARGUMENTS[kind]))}. Leave it out, or "
            "prepare the data with pandas (an environment without an engine)."
        )
    for key in _BOUNDS & kwargs.keys():
        value = latest() if isinstance(kwargs[key], dict) else kwargs[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise SuiteError(f"{kind}: {key} = {value!r} is not a number, and an engine compares only numbers.")
        kwargs[key] = value
    if kind == _OF_TYPE and kwargs["type_"] not in _TYPES.values():
        raise SuiteError(f"{kind}: an engine knows the types {', '.join(sorted(set(_TYPES.values())))} only.")
    return {**rule, "kwargs": kwargs}


def _breaking_rows(rules: list[_Rule], data: EventTable) -> dict[int, tuple[int, int]]:
    """By the number of a rule on rows: how many rows it ignores, and how many break it."""
    aggregates: dict[str, Any] = {}
    for number, rule in enumerate(rules):
        if rule["type"] in (_NOT_NULL, _BETWEEN):
            value = data.table[data.places[rule["kwargs"]["column"]]]
            aggregates[f"ignored{number}"] = value.isnull().sum()
            aggregates[f"broken{number}"] = _broken(rule, data).sum()
    found = data.table.aggregate(**aggregates).to_pyarrow().to_pylist()[0] if aggregates else {}
    counts = {
        number: (int(found[f"ignored{number}"] or 0) * (rule["type"] == _BETWEEN), int(found[f"broken{number}"] or 0))
        for number, rule in enumerate(rules)
        if f"broken{number}" in found
    }
    return counts | {number: _repeated(rule, data) for number, rule in enumerate(rules) if rule["type"] == _UNIQUE}


def _broken(rule: _Rule, data: EventTable) -> "BooleanValue":
    value = data.table[data.places[rule["kwargs"]["column"]]]
    if rule["type"] == _NOT_NULL:
        return value.isnull()
    low, high = (rule["kwargs"].get(key) for key in ("min_value", "max_value"))
    below = value < low if low is not None else None
    above = value > high if high is not None else None
    return above if below is None else below if above is None else below | above  # type: ignore[return-value]


def _columns(rule: _Rule, data: EventTable) -> list[str]:
    return [data.places[name] for name in rule["kwargs"]["column_list"]]


def _repeats(rule: _Rule, data: EventTable) -> Iterator["Table"]:
    """The groups of equal rows; rows without any value do not count."""
    columns = _columns(rule, data)
    for groups in data.groups(columns):
        yield groups.filter(groups.rows > 1, ~_all(groups[column].isnull() for column in columns))


def _repeated(rule: _Rule, data: EventTable) -> tuple[int, int]:
    """How many rows have no value in any of the columns, and how many equal another row."""
    empty = _all(data.table[column].isnull() for column in _columns(rule, data))
    unique = data.known_unique(_columns(rule, data))
    repeated = 0 if unique else sum(whole_number(groups.rows.sum()) for groups in _repeats(rule, data))
    return whole_number(empty.sum()), repeated


def _first_repeated(rule: _Rule, data: EventTable) -> "Table":
    """The rows of the first groups of equal rows; the first rows of all are among them."""
    found = [groups.order_by("row").limit(PAGE_ROWS).to_pyarrow().to_pylist() for groups in _repeats(rule, data)]
    first = sorted((group for groups in found for group in groups), key=lambda group: group["row"])[:PAGE_ROWS]

    def same(group: dict[str, Any]) -> "BooleanValue":
        cells = {column: (data.table[column], group[column]) for column in _columns(rule, data)}
        return _all(cell.isnull() if value is None else cell == value for cell, value in cells.values())

    values = {column: [group[column] for group in first] for column in _columns(rule, data)}
    # These few values alone pass over most rows quickly.
    near = [data.table[column].isin(found) for column, found in values.items() if None not in found]
    return data.table.filter(*near, reduce(or_, map(same, first)))


def _all(conditions: Iterable["BooleanValue"]) -> "BooleanValue":
    return reduce(and_, conditions)


def _on_rows(rule: _Rule, counts: tuple[int, int], data: EventTable) -> dict[str, Any]:
    ignored, broken = counts
    given = data.rows - ignored
    found: dict[str, Any] = {
        "element_count": data.rows,
        "unexpected_count": broken,
        "unexpected_percent": 100 * broken / given if given else None,
        "unexpected_index_list": [],
        "success": given == 0 or (given - broken) / given >= rule["kwargs"].get("mostly", 1),
    }
    if broken:
        wrong = _first_repeated(rule, data) if rule["type"] == _UNIQUE else data.table.filter(_broken(rule, data))
        found["rows"] = wrong.order_by("row").limit(PAGE_ROWS).row.to_pyarrow().to_pylist()
    return found


def _on_table(rule: _Rule, data: EventTable) -> dict[str, Any]:
    kind, kwargs = rule["type"], rule["kwargs"]
    if kind == COLUMN_EXISTS:
        return {"success": kwargs["column"] in data.places}
    if kind == _OF_TYPE:
        return {"success": _TYPES[kwargs["column"]] == kwargs["type_"], "observed_value": _TYPES[kwargs["column"]]}
    found = data.rows if kind == _ROWS else data.number_of(kwargs["column"])
    low, high = (kwargs.get(key) for key in ("min_value", "max_value"))
    return {"success": (low is None or found >= low) and (high is None or found <= high), "observed_value": found}


def _result(rule: _Rule, found: dict[str, Any]) -> "ExpectationValidationResult":
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    success = found.pop("success")
    none = {"raised_exception": False, "exception_traceback": None, "exception_message": None}
    return ExpectationValidationResult(success, ExpectationConfiguration(**rule), found, exception_info=none)
