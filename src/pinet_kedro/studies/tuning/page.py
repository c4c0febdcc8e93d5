"""The page of a study: the front, the finalists on fresh seeds, what was chosen, and every trial."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS, gain_of, number, with_interval
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS


def render_tuning(
    record: Record, trials: pd.DataFrame, finalists: pd.DataFrame, choice: Choice, figures: dict[str, Figure]
) -> str:
    """A self-contained HTML page in the style of the report; nothing is loaded from the network."""
    parameters = [name for name in record.space if name in trials.columns]
    return render(
        Path(__file__).with_name("tuning.html.j2"),
        record=record,
        choice=choice,
        figures=figures,
        groups=[
            {"label": GROUP_LABELS[group], "rows": [_finalist(row) for row in _of(finalists, group)]}
            for group in ("tail", "head", "all")
        ],
        seeds=int(finalists["seeds"].iloc[0]),
        tuned_twin=bool(finalists["candidate"].str.startswith("base as").any()),
        parameters=parameters,
        trials=[_trial(row, parameters) for row in _rows(trials)],
    )


def summary_lines(record: Record, finalists: pd.DataFrame, choice: Choice) -> list[str]:
    """Short lines for the console: the trials, the front, the finalists on test, the choice."""
    states = ", ".join(f"{count} {_STATES.get(state, state)}" for state, count in record.states.items())
    front = ", ".join(map(str, record.front)) or "none"
    lines = [f"Study {record.study}: {sum(record.states.values())} trials ({states}), best: {front}"]
    at = finalists.set_index(["candidate", "group"])
    for label in finalists["candidate"].unique():
        parts = []
        for group in GROUPS:
            row = at.loc[(label, group)]
            luck = "" if math.isnan(row["first"]) else f"first value {number(row['first'])}, "
            parts.append(
                f"{group} {luck}validation {number(row['valid'])}, test {number(row['test'])}, with plugins "
                f"{number(row['pin'])}"
            )
        lines.append(f"{label[0].upper()}{label[1:]}: {'; '.join(parts)}")
    lines.append(f"Chosen: {choice.label}, {choice.why}")
    return lines


_STATES = {"complete": "done", "pruned": "given up", "fail": "failed"}


def _of(finalists: pd.DataFrame, group: str) -> list[dict[str, Any]]:
    return _rows(finalists[finalists["group"] == group])


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _finalist(row: dict[str, Any]) -> dict[str, Any]:
    def gain(kind: str) -> str:
        told = dict(
            zip(("relative", "low", "high"), (row[f"{kind}_{end}"] for end in ("gain", "low", "high")), strict=True)
        )
        values = gain_of(told)
        return "reference" if values is None else with_interval(values)

    return {
        "label": row["candidate"],
        "first": number(row["first"]),
        **{kind: _spread(row[kind], row[f"{kind}_deviation"]) for kind in ("short", "valid", "test", "pin")},
        **{f"{kind}_gain": gain(kind) for kind in ("valid", "test", "pin")},
    }


def _spread(mean: float, deviation: float) -> str:
    return number(mean) if math.isnan(deviation) else f"{number(mean)} ± {number(deviation)}"


def _trial(row: dict[str, Any], parameters: list[str]) -> dict[str, Any]:
    return {
        **row,
        "state": _STATES.get(row["state"], row["state"]),
        "head": number(row["head"]),
        "tail": number(row["tail"]),
        "values": [_value(row[name]) for name in parameters],
        "reason": row["reason"] if isinstance(row["reason"], str) else "",
    }


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
