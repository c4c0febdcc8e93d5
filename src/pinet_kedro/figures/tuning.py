"""Optuna's figures of a tuning study, for head and tail users."""

import json
import math
import warnings
from collections.abc import Callable

from optuna import Study, visualization
from optuna.trial import TrialState
from plotly.graph_objects import Figure

from pinet_kedro.figures.style import GREY, GROUP_STYLE, MODEL_STYLE, finish
from pinet_kedro.reporting.text import GROUP_LABELS, plural

_GROUPS = ("head", "tail")
_COLUMNS = 3  # panels beside each other; a wider page is clipped


def tuning_figures(study: Study, base: dict[str, float]) -> tuple[Figure, Figure, Figure, Figure]:
    """History, importances, slices and front of a study; one with too few trials says so.

    `base` is the head and tail NDCG@10 of the base; a completed trial has its own as user attributes.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 2:
        empty = finish(Figure(), f"Nothing to draw: {plural(len(done), 'completed trial')}", "", height=300)
        return empty, empty, empty, empty
    return (
        finish(
            _both(visualization.plot_optimization_history, study),
            "Completed trials in their order",
            "Each mark is a trial: if the best ones come last, more trials may find better ones.",
            height=380,
        ),
        _importances(study),
        _slices(study),
        _front(study, base),
    )


def _both(plot: Callable[..., Figure], study: Study) -> Figure:
    """Optuna's figure of the head, with that of the tail on the same axes."""
    both = Figure()
    for group in _GROUPS:
        with warnings.catch_warnings(action="ignore"):
            drawn = plot(study, target=lambda trial, g=group: trial.user_attrs[g], target_name="NDCG@10")
        # Optuna's shades for a trial's number begin nearly white.
        drawn.update_traces(marker={"color": GROUP_STYLE[group][0], "showscale": False}, showlegend=False)
        drawn.update_traces(line_color=GROUP_STYLE[group][0], selector={"mode": "lines"})
        drawn.data[0].update(name=GROUP_LABELS[group], showlegend=True)
        both = Figure([*both.data, *drawn.data], drawn.layout)
    return both


def _importances(study: Study) -> Figure:
    drawn = _both(visualization.plot_param_importances, study)
    for bars in drawn.data:  # Optuna sorts the parameters by importance, for tail users in another order
        bars.y = [".<br>".join(name.split(".")[-2:]) for name in bars.y]
    longest = max(value for bars in drawn.data for value in bars.x)
    drawn.update_xaxes(title="share of the variance", tickangle=0, range=[0, 1.25 * longest]).update_yaxes(title=None)
    statement = "How much of the variance between trials each parameter explains"
    reading = "The longer a bar, the more the parameter matters for these users; few trials give a rough estimate."
    return finish(drawn, statement, reading, height=140 + 64 * len(drawn.data[0].y))


def _slices(study: Study) -> Figure:
    """Optuna's panels, one a parameter, in rows of three: it draws them in one row, wider than a page."""
    drawn = _both(visualization.plot_slice, study)
    count = len(list(drawn.select_xaxes()))
    rows = math.ceil(count / _COLUMNS)
    for i in range(count):
        (row, column), end = divmod(i, _COLUMNS), str(i + 1) if i else ""
        x, y = drawn.layout[f"xaxis{end}"], drawn.layout[f"yaxis{end}"]
        left, top = column / _COLUMNS, 1 - row / rows
        x.update(domain=[left, left + 0.9 / _COLUMNS], title_text=".".join(x.title.text.split(".")[-2:]))
        y.update(domain=[top - 0.7 / rows, top], showticklabels=column == 0, title_text=None if column else "NDCG@10")
        if x.type == "log":
            tried = [value for trace in drawn.data if (trace.xaxis or "x") == f"x{end}" for value in trace.x]
            ticks = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
            near = [tick for tick in ticks if min(tried) / 2 < tick < max(tried) * 2]
            x.update(tickvals=near, ticktext=[f"{tick:g}" for tick in near])
    drawn.update_layout(width=None)
    return finish(
        drawn,
        "Completed trials at the values that they tried",
        "One panel a parameter, each mark a trial: where the marks are high, the good values are.",
        height=100 + 260 * rows,
    )


def _front(study: Study, base: dict[str, float]) -> Figure:
    drawn = visualization.plot_pareto_front(
        study,
        target_names=[f"{GROUP_LABELS[group]}, NDCG@10" for group in _GROUPS],
        targets=lambda trial: [trial.user_attrs[group] for group in _GROUPS],
    )
    drawn.update_traces(marker={"color": GREY, "showscale": False, "size": 10})
    for best in drawn.data:
        if best.marker.colorbar.title.text == "Best Trial":  # has the number of each, as JSON, in its hover text
            numbers = [str(json.loads(text.replace("<br>", " "))["number"]) for text in best.text]
            best.update(hovertext=best.text, hovertemplate="%{hovertext}", text=numbers, mode="markers+text")
            best.update(textposition="top center", marker_color=GROUP_STYLE["tail"][0])
    x, y = ([base[group]] for group in _GROUPS)
    drawn.add_scatter(
        x=x, y=y, name="Base", mode="markers", marker={"symbol": "x", "size": 11, "color": MODEL_STYLE["pin"][0]}
    )
    reading = "Each mark is a trial: up and to the right is better for both; no trial beats those with a number."
    return finish(drawn, "Quality for tail users against that for head users", reading, height=460)
