"""What a study shows: Optuna's figures with head and tail beside each other, the page, and the lines on the console."""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from optuna import Study, visualization
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.reporting.figures.style import GREY, GROUP_STYLE, INK, finish
from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS, NONE, gain_of, number, with_interval
from pinet_kedro.studies.tuning.finalists import Choice
from pinet_kedro.studies.tuning.study import Record
from pinet_kedro.studies.tuning.trial import GROUPS

_NAMES = {"head": "Head NDCG@10", "tail": "Tail NDCG@10"}


def render_tuning(
    record: Record, trials: pd.DataFrame, finalists: pd.DataFrame, choice: Choice, figures: dict[str, Figure]
) -> str:
    """A self-contained HTML page in the style of the report; nothing is loaded from the network."""
    groups = {
        GROUP_LABELS[group]: [_finalist(row) for _, row in finalists[finalists["group"] == group].iterrows()]
        for group in ("tail", "head", "all")
    }
    columns = ["state", *GROUPS, "epochs", *(name for name in record.space if name in trials), "reason"]
    rows = [(row["number"], row["front"], [_cell(row[name]) for name in columns]) for _, row in trials.iterrows()]
    return render(
        Path(__file__).with_name("tuning.html.j2"), figures=figures, record=record, choice=choice, groups=groups,
        seeds=int(finalists["seeds"].iloc[0]), columns=columns, trials=rows,
    )  # fmt: skip


def summary_lines(record: Record, finalists: pd.DataFrame, choice: Choice) -> list[str]:
    """Short lines for the console: the trials, the front, the finalists, the choice."""
    states = ", ".join(f"{count} {state}" for state, count in record.states.items())
    best = ", ".join(map(str, record.front)) or "none"
    lines = [f"Study {record.study}: {sum(record.states.values())} trials ({states}), best: {best}"]
    measures = {"first": "first value", "valid": "validation", "test": "test", "pin": "with plugins"}
    for label, rows in finalists.groupby("candidate", sort=False):
        for _, row in rows[rows["group"].isin(GROUPS)].iterrows():
            shown = [f"{name} {number(row[kind])}" for kind, name in measures.items() if math.isfinite(row[kind])]
            lines.append(f"{str(label).capitalize()}, {row['group']}: {', '.join(shown)}")
    return [*lines, f"Chosen: {choice.label}, {choice.why}"]


def _finalist(row: Any) -> list[str]:
    """Label and cells of a finalist: values with their deviation over seeds, gains with their interval."""
    cells = [row["candidate"], number(row["first"])]
    for kind in ("short", "valid", "test", "pin"):
        deviation = row[f"{kind}_deviation"]
        cells.append(number(row[kind]) + (f" ± {number(deviation)}" if math.isfinite(deviation) else ""))
        if kind != "short":
            gain = gain_of({"relative": row[f"{kind}_gain"], "low": row[f"{kind}_low"], "high": row[f"{kind}_high"]})
            cells.append(with_interval(gain) if gain else "reference")
    return cells


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def draw(study: Study, record: Record) -> tuple[Figure, Figure, Figure, Figure]:
    """History, importances, slices and front of a study; one with too few trials says so."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 2:
        empty = finish(Figure(), f"Nothing to draw: {len(done)} completed trials", 300)
        return empty, empty, empty, empty
    tried = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
    names = [name for name in record.space if name in tried]
    history = make_subplots(1, 2, subplot_titles=list(_NAMES.values()), horizontal_spacing=0.1)
    importances = make_subplots(1, 2, subplot_titles=list(_NAMES.values()), horizontal_spacing=0.25)
    slices = make_subplots(
        2, len(names), shared_yaxes=True, vertical_spacing=0.08, horizontal_spacing=0.02, column_titles=_short(names)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for at, group in enumerate(GROUPS, 1):
            metric: dict[str, Any] = {
                "target": lambda trial, g=group: trial.user_attrs[g],
                "target_name": _NAMES[group],
            }
            _add(history, visualization.plot_optimization_history(study, **metric), group, 1, at)
            history.add_hline(record.base[group], line={"color": INK, "dash": "dot", "width": 1}, row=1, col=at)
            bars = visualization.plot_param_importances(study, **metric)
            bars.for_each_trace(lambda trace: trace.update(y=_short(trace.y or ()), marker_color=None))
            _add(importances, bars, group, 1, at)
            for column, name in enumerate(names, 1):
                _add(slices, visualization.plot_slice(study, [name], **metric), group, at, column)
                if record.space[name].get("log"):
                    slices.update_xaxes(type="log", row=at, col=column)
            slices.update_yaxes(title_text=_NAMES[group], row=at, col=1)
    history.update_xaxes(title_text="trial")
    states = ", ".join(f"{count} {state}" for state, count in record.states.items())
    return (
        finish(history, f"Trials in their order ({states}); the line is the base", 380),
        finish(importances, "How much of the variance between trials each parameter explains", 340),
        finish(slices, "Every trial at the values that it tried", 520),
        _front(study, record, done),
    )


def _add(figure: Figure, panel: Figure, group: str, row: int, column: int) -> None:
    color = GROUP_STYLE[group][0]
    for trace in panel.data:
        trace.showlegend = False
        if trace.type == "bar" or trace.mode == "markers":  # Optuna's shades for a trial's number begin nearly white
            trace.update(marker_color=color)
            trace.marker.showscale = None if trace.type == "bar" else False
        else:
            trace.line.color = color
        figure.add_trace(trace, row=row, col=column)


def _front(study: Study, record: Record, done: list[FrozenTrial]) -> Figure:
    drawn = visualization.plot_pareto_front(
        study, target_names=list(_NAMES.values()), targets=lambda trial: [trial.user_attrs[group] for group in GROUPS]
    )
    drawn.update_traces(marker={"color": GREY, "showscale": False, "size": 9})
    best = [trial.user_attrs | {"label": str(trial.number)} for trial in done if trial.number in record.front]
    marked = ((best, "circle", GROUP_STYLE["tail"][0]), ([record.base | {"label": "base"}], "x", INK))
    for points, symbol, color in marked:
        x, y, text = ([point[key] for point in points] for key in ("head", "tail", "label"))
        drawn.add_scatter(
            x=x, y=y, text=text, mode="markers+text", textposition="top center", showlegend=False, hoverinfo="skip",
            marker={"symbol": symbol, "size": 11, "color": color},
        )  # fmt: skip
    constraint = " of those that keep the head of the base" if record.objective == "tail" else ""
    return finish(drawn, f"Head against tail: no trial{constraint} beats those with a number", 460)


def _short(names: Iterable[str]) -> list[str]:
    return [".".join(name.split(".")[-2:]) for name in names]
