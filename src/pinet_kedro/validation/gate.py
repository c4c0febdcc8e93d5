"""The gates of Great Expectations: bad data stop the run before work is wasted, with a message that says what to do.

A suite file holds Great Expectations suites by the table that they check (`_TABLES`). Of an expectation, `description`
is the rule in words, `notes` is the way out ({source}, {role}, {nearest} and {file} are filled in), and `meta.only_for`
restricts it to data with real clock times ("clock"), with an optional column (its name), or to whole logs ("log"; one
partition of a log may be small).
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError

from pinet_kedro.activeness import Stratification, fit_strata
from pinet_kedro.datasets.files import TextDataset
from pinet_kedro.interactions.codes import encode
from pinet_kedro.printable import one_line
from pinet_kedro.project import project_folder
from pinet_kedro.reading.nanoseconds import DAY, PER_SECOND, SECOND, iso
from pinet_kedro.validation.suites import SuiteError, ValidationFailedError, columns_of, read_suites

log = logging.getLogger(__name__)
# Great Expectations raises what matters; its modules set log levels of their own, so a level here would not do.
logging.getLogger("great_expectations").propagate = False
logging.getLogger("great_expectations").addHandler(logging.NullHandler())

DATA_DOCS = "data/08_reporting/data_docs"

_ROWS = 3  # offending rows shown for a rule
_PAGE_ROWS = 20  # … and on its page
_RULES = 10  # broken rules shown in a message
_NAMES = 25  # columns of the file shown
_OF_TYPE = "expect_column_values_to_be_of_type"
_EXISTS = "expect_column_to_exist"
_ON_CODES = {
    "expect_column_to_exist",
    "expect_table_row_count_to_be_between",
    "expect_column_values_to_not_be_null",
    "expect_column_values_to_be_between",
    "expect_column_unique_value_count_to_be_between",
    "expect_compound_columns_to_be_unique",
}
_NEAR = 0.5  # least similarity of a column's name that is worth suggesting


def data_docs_index(data_docs: str | Path = DATA_DOCS) -> Path:
    """Page that lists the latest result of every suite, in the project's folder."""
    return project_folder() / data_docs / "index.html"


class ExpectationGate:
    """Catalog validator: lets data pass that meet a suite, and writes Data Docs whether they do or not."""

    def __init__(self, suite: str, data_docs: str = DATA_DOCS) -> None:
        """`suite`: JSON file; `data_docs`: folder of the pages; both relative to the project's folder."""
        self._suite = suite
        self._data_docs = data_docs

    def validate(self, data: pd.DataFrame) -> pd.DataFrame:
        """The data as they came; raises `ValidationFailedError` when they break a rule."""
        origin = _Origin(data)
        results: list[Any] = []
        tables: list[dict[str, Any]] = []
        problems: list[str] = []
        with warnings.catch_warnings(action="ignore"):
            for table, suite in read_suites(self._suite).items():
                frame = _TABLES[table](data)
                self._check_columns(suite, table, frame, origin)
                try:
                    results.append(_check(suite, frame, origin))
                # Whatever a suite edited by hand can provoke; the errors of Great Expectations share no narrower base.
                except Exception as error:
                    raise ValidationFailedError(f"{self._suite}, {table}: {_short(error, 300)}") from error
                tables.append(_table(suite, results[-1], table, frame, origin))
                problems = [_problem(rule, table, frame, origin, self._suite) for rule in _broken(results[-1], suite)]
                if problems:
                    break  # a table that is made of a broken one would only repeat the complaint
            subject = suite.get("meta", {}).get("subject", "{file}").replace("{file}", origin.file)
            message = self._message(subject, results, problems)
            if not any(result.results for result in results):
                raise SuiteError(f"{self._suite}: none of its rules is about {origin.file}; nothing is checked.")
            docs = self._write_docs(results, tables, message)
        if problems:
            raise ValidationFailedError(f"{message}\n{docs}")
        return data

    def _check_columns(self, suite: dict[str, Any], table: str, frame: pd.DataFrame, origin: "_Origin") -> None:
        """Refuses a rule on a column that is not there, where no other rule reports that it is missing."""
        rules = [rule for rule in suite["expectations"] if _is_meant(rule, origin)]
        exist = {c for rule in rules if rule["type"] == _EXISTS for c in columns_of(rule["kwargs"])}
        for rule in rules:
            for column in columns_of(rule["kwargs"]):
                if column not in exist and column not in frame.columns:
                    raise SuiteError(
                        f"{self._suite}, {table}: {rule['type']} is about a column '{column}', and there is none. The "
                        f"columns are {', '.join(map(str, frame.columns))}; a rule on an optional one says so with "
                        f'"meta": {{"only_for": "{column}"}}.'
                    )

    def record(self, content: str) -> None:
        """Notes the sha256 of what was stored of the data that passed last, for whoever asks which data those were."""
        path = self._folder() / "result.json"
        if path.exists():  # Data Docs may not have been writable
            outcome = json.loads(path.read_text(encoding="utf-8"))
            TextDataset(str(path)).save(json.dumps({**outcome, "content": content}, indent=1))

    def _folder(self) -> Path:
        """Where the results of the suite are kept."""
        return data_docs_index(self._data_docs).parent / Path(self._suite).stem

    def _message(self, subject: str, results: list[Any], problems: list[str]) -> str:
        rules = sum(len(result.results) for result in results)
        if not problems:
            return f"{subject}: all {rules} rules of {self._suite} hold."
        more = [f"… and {len(problems) - _RULES} more."] if len(problems) > _RULES else []
        head = f"{subject}: {len(problems)} of {rules} rules are broken ({self._suite})."
        return "\n".join([head, *(f"- {problem}" for problem in problems[:_RULES]), *more])

    def _write_docs(self, results: list[Any], tables: list[dict[str, Any]], message: str) -> str:
        """Where the pages are, in words. A page that cannot be written is no reason to refuse good data."""
        index = data_docs_index(self._data_docs)
        folder = self._folder()
        outcome = {
            "suite": folder.name,
            "success": all(result.success for result in results),
            "checked": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "message": message,
        }
        stored = {**outcome, "tables": [result.to_json_dict() for result in results]}
        try:
            TextDataset(str(folder / "result.json")).save(json.dumps(stored, indent=1))
            page = _page("data_docs_suite.html.j2", outcome=outcome, tables=tables)
            TextDataset(str(folder / "index.html")).save(page)
            latest = [json.loads(path.read_text("utf-8")) for path in sorted(index.parent.glob("*/result.json"))]
            TextDataset(str(index)).save(_page("data_docs.html.j2", outcomes=latest))
        except (DatasetError, OSError, ValueError) as error:
            log.warning("Data Docs could not be written to %s: %s", index.parent, _short(error, 200))
            return f"Data Docs could not be written to {index.parent}."
        return f"Data Docs: {index}"


class _Origin:
    """What the reader of a file knows of it and the canonical table no longer says (`read_interactions`)."""

    def __init__(self, data: pd.DataFrame) -> None:
        known = data.attrs
        self.file = one_line(known.get("file", "the data"))
        names: dict[str, str] = known.get("columns") or {name: name for name in data.columns}
        self.names = {canonical: one_line(str(name)) for canonical, name in names.items()}
        self.present = [one_line(str(name)) for name in known.get("present") or data.columns]
        self.unreadable = {row + 1: text for row, text in known.get("unreadable", ())}
        self.unit: str | None = known.get("unit")
        self.kinds = {kind for kind in ("clock", "log") if known.get(kind, True)}

    def name(self, column: str) -> str:
        """The user's name of a column."""
        return self.names.get(column, column)

    def nearest(self, column: str) -> str:
        """Name in the file that most resembles that of the missing column."""
        taken = {name for canonical, name in self.names.items() if canonical != column}
        scores = [
            (SequenceMatcher(None, name.lower(), candidate.lower()).ratio(), candidate)
            for name in {self.name(column), column, _role(column)}
            for candidate in self.present
            if candidate not in taken
        ]
        score, nearest = max(scores, default=(0.0, ""))
        return nearest if score >= _NEAR else "<column>"


def _role(column: str) -> str:
    return column.removesuffix("_id")


def _users(events: pd.DataFrame) -> pd.DataFrame:
    """One row a user: `user_id, activeness` (events)."""
    return events["user_id"].value_counts(sort=False).rename("activeness").rename_axis("user_id").reset_index()


def _strata(events: pd.DataFrame) -> pd.DataFrame:
    """One row a stratum, tail and head: `stratum, users, events`."""
    activeness = _users(events)["activeness"].astype("int64")
    strata = fit_strata(activeness.to_numpy(), Stratification()).head_tail.assign(activeness.to_numpy())
    table = activeness.groupby(strata).agg(["size", "sum"]).set_axis(["users", "events"], axis=1)
    return table.rename(index={0: "tail", 1: "head"}).reset_index(names="stratum")


_TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "events": lambda events: events, "users": _users, "strata": _strata
}  # fmt: skip


def _is_meant(rule: dict[str, Any], origin: _Origin) -> bool:
    """Whether a rule is about data of this kind, with these columns."""
    only_for = (rule.get("meta") or {}).get("only_for")
    return only_for is None or only_for in origin.kinds | set(origin.names)


def _applies(rule: dict[str, Any], frame: pd.DataFrame, origin: _Origin) -> bool:
    """Whether a rule has something to say: of a missing column or an empty table only that is reported."""
    if not _is_meant(rule, origin):
        return False
    columns = columns_of(rule["kwargs"])
    if rule["type"] == _EXISTS or not columns:
        return True
    return not frame.empty and set(columns) <= set(frame.columns)


def _check(suite: dict[str, Any], frame: pd.DataFrame, origin: _Origin) -> Any:
    """Result of the rules that apply; offending rows are counted from 1."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx  # costs 3 s of CPU
    from great_expectations.data_context.types.base import ProgressBarsConfig

    import pinet_kedro.validation.quick_metrics  # noqa: F401

    rules = [rule for rule in suite["expectations"] if _applies(rule, frame, origin)]
    frame = frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0)
    frame.attrs = {}  # pandas compares attrs at every step
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("pandas")
    results = []
    for name, (table, some) in _in_quick_types(frame, rules).items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        found = batch.get_batch({"dataframe": table}).validate(
            gx.ExpectationSuite(**{**suite, "expectations": some}),
            result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
            expectation_parameters={"now": int(datetime.now(UTC).timestamp()) * SECOND + DAY},
        )
        results.append(found)
    result = _together(results)
    if len(result.results) != len(rules):
        raise RuntimeError(f"{len(result.results)} of {len(rules)} rules were checked")
    for rule in result.results:
        for key in {"unexpected_list", "unexpected_index_list"} & set(rule.result):
            rule.result[key] = rule.result[key][:_PAGE_ROWS]
    return result


_Rule = dict[str, Any]


def _in_quick_types(frame: pd.DataFrame, rules: list[_Rule]) -> dict[str, tuple[pd.DataFrame, list[_Rule]]]:
    """The rules, each with a table that gives it the same result as the frame, in the types it is quickest on.

    - Rules on equality, order and number (`_ON_CODES`) get every row, with text as codes and times as plain integers:
      Great Expectations copies the table for every rule, and compares nullable integers one by one in Python. (So it
      still does where a time is missing, of a log that is refused anyway: about a microsecond a row.)
    - The type of a column that is typed is that of its first row.
    - All other rules get the frame as it is.
    """
    tables: dict[str, tuple[pd.DataFrame, list[dict[str, Any]]]]
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


def _error(rule: Any) -> str | None:
    """What Great Expectations says where a rule could not even be evaluated."""
    info = rule.exception_info or {}
    causes = [info] if "raised_exception" in info else info.values()
    return next((cause["exception_message"] for cause in causes if cause["raised_exception"]), None)


def _broken(result: Any, suite: dict[str, Any]) -> list[Any]:
    """Results of the broken rules, in the order of the suite."""
    broken = [(rule, _error(rule), set(columns_of(rule.expectation_config.kwargs))) for rule in result.results]
    broken = [entry for entry in broken if not entry[0].success]
    # A column of the wrong type makes other rules fail to evaluate; that is one complaint, not several.
    told = {column for _, error, columns in broken if not error for column in columns}
    return _in_order([rule for rule, error, columns in broken if not error or not told & columns], suite)


def _in_order(rules: list[Any], suite: dict[str, Any]) -> list[Any]:
    """Results of rules in the order of the suite."""
    order = [rule.get("description") for rule in suite["expectations"]]
    return sorted(rules, key=lambda rule: order.index(rule.expectation_config.description))


def _problem(rule: Any, table: str, frame: pd.DataFrame, origin: _Origin, suite: str) -> str:
    """One broken rule in words: column, rule, how many rows and the first of them, the way out."""
    config, found = rule.expectation_config, rule.result
    columns = columns_of(config.kwargs)
    lines = [config.description or config.type.replace("_", " ")]
    if columns:
        names = [origin.name(column) for column in columns]
        roles = "" if names == columns else f" ({', '.join(columns)})"
        lines[0] = f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}{roles}: {lines[0]}"
    if error := _error(rule):
        lines.append(f"cannot be checked: {_short(error, 200)}")
    elif config.type == "expect_column_to_exist":
        more = f", … ({len(origin.present)} in all)" if len(origin.present) > _NAMES else ""
        lines.append(f"missing; the columns are {', '.join(map(_short, origin.present[:_NAMES]))}{more}")
    elif count := found.get("unexpected_count"):
        total, unit = found["element_count"], "rows, counted from 1" if table == "events" else table
        lines.append(f"{count:,} of {total:,} ({100 * count / total:.3g} %) {unit}:")
        lines += [f"  {_row(frame, row, table, origin)}" for row in found["unexpected_index_list"][:_ROWS]]
    else:
        bounds = {"min_value": "at least ", "max_value": "at most ", "type_": ""}
        asked = [f"{word}{config.kwargs[key]}" for key, word in bounds.items() if config.kwargs.get(key) is not None]
        lines.append(f"found {found.get('observed_value')}, expected {' and '.join(asked)}")
    notes = config.notes or f"correct the data, or change the rule in {suite}."
    values = {"file": origin.file}
    if columns:
        values |= {"source": names[0], "role": _role(columns[0]), "nearest": origin.nearest(columns[0])}
    way_out = notes if isinstance(notes, str) else " ".join(notes)
    lines.append("Way out: " + re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), way_out))
    return "\n  ".join(lines)


def _row(frame: pd.DataFrame, row: int, table: str, origin: _Origin) -> str:
    """One row under the user's own column names, with the text of a time that could not be read in the source."""
    shown = []
    for column, value in frame.iloc[row - 1].items():
        name = str(column)
        if name == "timestamp" and row in origin.unreadable:
            value = origin.unreadable[row]
        text = "missing" if pd.isna(value) else repr(_short(value)) if isinstance(value, str) else f"{value:.16g}"
        if name == "timestamp" and "clock" in origin.kinds and not isinstance(value, str) and not pd.isna(value):
            text = _when(int(value), origin.unit)
        shown.append(f"{_short(origin.name(name))}={text}")
    return f"row {row}: {', '.join(shown)}" if table == "events" else ", ".join(shown)


def _when(time: int, unit: str | None) -> str:
    """A time in nanoseconds as the number of the source, where that has numbers, and as a date."""
    return iso(time) if unit is None else f"{time * PER_SECOND[unit] / SECOND:.19g} {unit} ({iso(time)})"


def _short(value: object, length: int = 40) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _table(suite: dict[str, Any], result: Any, table: str, frame: pd.DataFrame, origin: _Origin) -> dict[str, Any]:
    """A table's rules as its page shows them, in the order of the suite."""
    rules = [_rule(rule, table, frame, origin) for rule in _in_order(result.results, suite)]
    return {"name": result.suite_name, "rules": rules}


def _rule(rule: Any, table: str, frame: pd.DataFrame, origin: _Origin) -> dict[str, Any]:
    """One rule as its page shows it: what was observed, and the first of the rows that break it."""
    config, found = rule.expectation_config, rule.result
    count = found.get("unexpected_count", 0)
    if error := _error(rule):
        observed = f"cannot be checked: {_short(error, 200)}"
    elif "unexpected_count" in found:
        of = f"{found['element_count']:,} {'rows' if table == 'events' else table}"
        observed = f"{count:,} of {of} break it" if count else f"holds for all {of}"
    else:
        observed = _short(found.get("observed_value", "–"), 200)
    return {
        "passed": rule.success,
        "text": config.description or config.type.replace("_", " "),
        "columns": ", ".join(map(origin.name, columns_of(config.kwargs))),
        "observed": observed,
        "count": count,
        "rows": [_row(frame, row, table, origin) for row in found.get("unexpected_index_list", ())],
    }


def _page(template: str, **values: Any) -> str:
    from pinet_kedro.reporting.page import render  # plotly's import takes half a second

    return render(Path(__file__).with_name(template), **values)
