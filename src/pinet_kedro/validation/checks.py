"""The rules of a suite on a table, as Great Expectations evaluates them, in the types on which it is quick."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from pinet_kedro.interactions.codes import encode
from pinet_kedro.interactions.events import Origin
from pinet_kedro.reading.nanoseconds import DAY, SECOND
from pinet_kedro.validation.suites import columns_of

COLUMN_EXISTS = "expect_column_to_exist"

PAGE_ROWS = 20  # offending rows kept of a rule
_OF_TYPE = "expect_column_values_to_be_of_type"
_ON_CODES = {
    "expect_column_to_exist",
    "expect_table_row_count_to_be_between",
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_between",
    "expect_column_unique_value_count_to_be_between",
    "expect_compound_columns_to_be_unique",
}
_Rule = dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """A table, and what Great Expectations found in it."""

    table: str
    frame: pd.DataFrame
    suite: dict[str, Any]
    result: Any


def is_meant(rule: _Rule, origin: Origin) -> bool:
    """Whether a rule is about data of this kind, with these columns."""
    only_for = (rule.get("meta") or {}).get("only_for")
    return only_for is None or only_for in _kinds(origin) | set(origin.columns)


def _kinds(origin: Origin) -> set[str]:
    """The kinds of data that a rule may ask for."""
    return {kind for kind, is_so in (("clock", origin.clock), ("log", origin.log)) if is_so}


def applies(rule: _Rule, frame: pd.DataFrame, origin: Origin) -> bool:
    """Whether a rule applies: of a missing column or an empty table, only that is reported."""
    if not is_meant(rule, origin):
        return False
    columns = columns_of(rule["kwargs"])
    if rule["type"] == COLUMN_EXISTS or not columns:
        return True
    return not frame.empty and set(columns) <= set(frame.columns)


def check(suite: dict[str, Any], frame: pd.DataFrame, origin: Origin) -> Any:
    """Result of the rules that apply; rows that break a rule have the labels of the frame."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx  # costs 3 s of CPU
    from great_expectations.data_context.types.base import ProgressBarsConfig

    import pinet_kedro.validation.quick_metrics  # noqa: F401

    rules = [rule for rule in suite["expectations"] if applies(rule, frame, origin)]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("pandas")
    results = []
    for name, (table, some) in _in_quick_types(frame, rules).items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        found = batch.get_batch({"dataframe": table}).validate(
            gx.ExpectationSuite(**{**suite, "expectations": some}),
            result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
            expectation_parameters={"now": latest()},
        )
        results.append(found)
    result = _together(results)
    if len(result.results) != len(rules):
        raise RuntimeError(f"{len(result.results)} of {len(rules)} rules were checked")
    for rule in result.results:
        for key in {"unexpected_list", "unexpected_index_list"} & set(rule.result):
            rule.result[key] = rule.result[key][:PAGE_ROWS]
    return result


def latest() -> int:
    """The parameter `now` of suites in nanoseconds: events may be up to a day ahead of this machine's clock."""
    return int(datetime.now(UTC).timestamp()) * SECOND + DAY


def _in_quick_types(frame: pd.DataFrame, rules: list[_Rule]) -> dict[str, tuple[pd.DataFrame, list[_Rule]]]:
    """The rules, each with a table that gives it the same result as the frame, in the types it is quickest on.

    - Rules on equality, order and number (`_ON_CODES`) get every row, with text as codes and times as plain integers:
      Great Expectations copies the table for every rule, and compares nullable integers one by one in Python. (So it
      still does where a time is missing, of a log that is refused anyway: about a microsecond a row.)
    - The type of a column that is typed is that of its first row.
    - All other rules get the frame as it is.
    """
    tables: dict[str, tuple[pd.DataFrame, list[_Rule]]]
    tables = {"codes": (_coded(frame), []), "types": (frame.head(1), []), "rows": (frame, [])}
    for rule in rules:
        typed = all(
            not pd.api.types.is_object_dtype(frame[column]) for column in columns_of(rule["kwargs"]) if column in frame
        )
        kind = "codes" if rule["type"] in _ON_CODES else "types" if rule["type"] == _OF_TYPE and typed else "rows"
        tables[kind][1].append(rule)
    return {name: part for name, part in tables.items() if part[1]} or {"rows": (frame, [])}


def _coded(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with text as categories and nullable integers, where none is null, as plain ones."""
    columns: dict[Any, Any] = {}
    for name, column in frame.items():
        columns[name] = column
        if isinstance(column.dtype, pd.StringDtype):
            codes, distinct = encode(column)
            columns[name] = pd.Categorical.from_codes(codes, pd.Index(distinct))
        elif isinstance(column.dtype, pd.Int64Dtype) and not column.hasnans:
            columns[name] = column.astype("int64")
    return pd.DataFrame(columns, index=frame.index)


def _together(results: list[Any]) -> Any:
    """One result of a suite whose rules were checked in parts."""
    whole, *others = results
    for other in others:
        whole.results += other.results
        whole.success &= other.success
        for count in ("evaluated_expectations", "successful_expectations", "unsuccessful_expectations"):
            whole.statistics[count] += other.statistics[count]
    if evaluated := whole.statistics["evaluated_expectations"]:
        whole.statistics["success_percent"] = 100 * whole.statistics["successful_expectations"] / evaluated
    return whole


def error_of(rule: Any) -> str | None:
    """The error of Great Expectations where a rule could not be evaluated, else None."""
    info = rule.exception_info or {}
    causes = [info] if "raised_exception" in info else info.values()
    return next((cause["exception_message"] for cause in causes if cause["raised_exception"]), None)


def broken_rules(result: Any, suite: dict[str, Any]) -> list[Any]:
    """Results of the broken rules, in the order of the suite."""
    broken = [(rule, error_of(rule), set(columns_of(rule.expectation_config.kwargs))) for rule in result.results]
    broken = [entry for entry in broken if not entry[0].success]
    # A column of the wrong type makes other rules fail to evaluate: one complaint, not several.
    reported = {column for _, error, columns in broken if not error for column in columns}
    return in_order([rule for rule, error, columns in broken if not error or not reported & columns], suite)


def in_order(rules: list[Any], suite: dict[str, Any]) -> list[Any]:
    """Results of rules in the order of the suite."""
    order = [rule.get("description") for rule in suite["expectations"]]
    return sorted(rules, key=lambda rule: order.index(rule.expectation_config.description))
