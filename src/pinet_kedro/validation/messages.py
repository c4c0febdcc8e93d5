"""What a gate reports: broken rules, rows and times in words, under the names of the user's own columns."""

import re
from difflib import SequenceMatcher
from typing import Any

import pandas as pd

from pinet_kedro.interactions.events import Interactions
from pinet_kedro.printable import one_line
from pinet_kedro.reading.nanoseconds import PER_SECOND, SECOND, iso
from pinet_kedro.validation.checks import COLUMN_EXISTS, Checked, error_of
from pinet_kedro.validation.suites import columns_of

OF_A_PARTITION = " (This is a partition: its entry in the catalog is new_interactions, which --params does not reach.)"

_ENTRY = "raw_interactions"
_ROWS = 3  # offending rows shown for a rule
_RULES = 10  # broken rules shown in a message
_NAMES = 25  # columns of the file shown
_NEAR = 0.5  # smallest similarity of a column's name that is suggested


class Wording:
    """The source of some data in words that are safe to print."""

    def __init__(self, data: Interactions) -> None:
        origin = data.origin
        self.file = one_line(origin.file)
        self.names = {canonical: one_line(str(name)) for canonical, name in origin.columns.items()}
        self.present = [one_line(str(name)) for name in origin.present]
        self.unreadable = {row + 1: text for row, text in origin.unreadable}
        self.unit = origin.unit
        self.clock = origin.clock
        self.log = origin.log
        self.place = origin.place

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

    def row(self, frame: pd.DataFrame, row: int, table: str) -> str:
        """The row with this label (its number from 1); a time that could not be read is as it is in the source."""
        shown = []
        values: dict[Any, Any] = dict(frame.loc[row].items())
        for column, value in values.items():
            name = str(column)
            if name == "timestamp" and row in self.unreadable:
                value = self.unreadable[row]
            if isinstance(value, str):
                text = repr(short(value))
            else:
                text = "missing" if pd.isna(value) else f"{value:.16g}" if isinstance(value, float) else str(value)
            if name == "timestamp" and self.clock and not isinstance(value, str) and not pd.isna(value):
                text = _when(int(value), self.unit)
            shown.append(f"{short(self.name(name))}={text}")
        return f"{self.place(row)}: {', '.join(shown)}" if table == "events" else ", ".join(shown)


def verdict(subject: str, suite: str, rules: int, problems: list[str]) -> str:
    """The outcome of a suite of so many `rules`: what holds, or the first of the problems."""
    if not problems:
        return f"{subject}: all {rules} rules of {suite} hold."
    more = [f"… and {len(problems) - _RULES} more."] if len(problems) > _RULES else []
    head = f"{subject}: {len(problems)} of {rules} rules are broken ({suite})."
    return "\n".join([head, *(f"- {problem}" for problem in problems[:_RULES]), *more])


def problem_of(rule: Any, checked: Checked, wording: Wording, suite: str) -> str:
    """One broken rule in words: column, rule, how many rows and the first of them, the way out."""
    config, found, table = rule.expectation_config, rule.result, checked.table
    columns = columns_of(config.kwargs)
    lines = [config.description or config.type.replace("_", " ")]
    if columns:
        names = [wording.name(column) for column in columns]
        roles = "" if names == columns else f" ({', '.join(columns)})"
        lines[0] = f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}{roles}: {lines[0]}"
    if error := error_of(rule):
        lines.append(f"cannot be checked: {short(error, 200)}")
    elif config.type == COLUMN_EXISTS:
        more = f", … ({len(wording.present)} in all)" if len(wording.present) > _NAMES else ""
        lines.append(f"missing; the columns are {', '.join(map(short, wording.present[:_NAMES]))}{more}")
    elif count := found.get("unexpected_count"):
        total, unit = found["element_count"], "rows, counted from 1" if table == "events" else table
        lines.append(f"{count:,} of {total:,} ({100 * count / total:.3g} %) {unit}:")
        lines += [f"  {wording.row(checked.frame, row, table)}" for row in found["unexpected_index_list"][:_ROWS]]
    else:
        lines.append(f"found {found.get('observed_value')}, expected {_bounds(config.kwargs)}")
    notes = config.notes or f"correct the data, or change the rule in {suite}."
    values = {"file": wording.file}
    if columns:
        values |= {"source": names[0], "role": _role(columns[0]), "nearest": wording.nearest(columns[0])}
    way_out = notes if isinstance(notes, str) else " ".join(notes)
    if _ENTRY in way_out and not wording.log:
        way_out += OF_A_PARTITION
    lines.append("Way out: " + re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), way_out))
    return "\n  ".join(lines)


def threshold(rule: Any, table: str, clock: bool) -> str:
    """What a rule asks for, such as 'at least 50' and 'at least 3, all users'; `clock`: times are those of a clock."""
    kwargs, asked = rule.expectation_config.kwargs, []
    times = clock and kwargs.get("column") == "timestamp"
    if bounds := _bounds({key: _day(value) if times else value for key, value in kwargs.items()}):
        asked.append(bounds)
    if "unexpected_count" in rule.result:  # a rule on single rows
        rows, mostly = "rows" if table == "events" else table, kwargs.get("mostly", 1)
        asked.append(f"all {rows}" if mostly == 1 else f"at least {100 * mostly:g} % of the {rows}")
    return ", ".join(asked) or ("there" if rule.expectation_config.type == COLUMN_EXISTS else "–")


def _bounds(kwargs: dict[str, Any]) -> str:
    words = {"min_value": "at least ", "max_value": "at most ", "type_": ""}
    given = {word: kwargs[key] for key, word in words.items() if kwargs.get(key) is not None}
    # Great Expectations makes floats of whole numbers.
    return " and ".join(
        f"{word}{f'{value:.15g}' if isinstance(value, float) else value}" for word, value in given.items()
    )


def _day(bound: Any) -> Any:
    """A bound in nanoseconds as a day."""
    return iso(int(bound))[:10] if isinstance(bound, int | float) else bound


def _when(time: int, unit: str | None) -> str:
    """A time in nanoseconds as the number of the source, where that has numbers, and as a date."""
    if unit is None:
        return iso(time)
    whole, part = divmod(abs(time) * PER_SECOND[unit], SECOND)  # exact, as the source has it
    digits = f".{part:09d}".rstrip("0") if part else ""
    return f"{'-' * (time < 0)}{whole}{digits} {unit} ({iso(time)})"


def short(value: object, length: int = 40) -> str:
    """The value in one line of bounded length."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _role(column: str) -> str:
    return column.removesuffix("_id")
