"""Optuna's figures of a tuning study, for head and tail users."""

import json
import warnings
from collections.abc import Callable

from optuna import Study, visualization
from optuna.trial import TrialState
from plotly.graph_objects import Figure

from pinet_kedro.reporting.figures.style import GREY, GROUP_STYLE, INK, finish
from pinet_kedro.reporting.text import GROUP_LABELS

_GROUPS = ("head", "tail")


def tuning_figures(study: Study, base: dict[str, float]) -> tuple[Figure, Figure, Figure, Figure]:
    """History, importances, slices and front of a study; one with too few trials says so.

    `base` is the head and tail NDCG@10 of the base; a completed trial has its own as user attributes.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 2:
        empty = finish(Figure(), f"Nothing to draw: {len(done)} completed trials", 300)
        return empty, empty, empty, empty
    slices = _both(visualization.plot_slice, study)
    slices.for_each_xaxis(lambda axis: axis.update(title_text=".".join(axis.title.text.split(".")[-2:])))
    return (
        finish(_both(visualization.plot_optimization_history, study), "Completed trials in their order", 380),
        finish(
            _both(visualization.plot_param_importances, study),
            "How much of the variance between trials each parameter explains",
            340,
        ),
        finish(slices, "Completed trials at the values that they tried", 420),
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
    drawn.add_scatter(x=x, y=y, name="Base", mode="markers", marker={"symbol": "x", "size": 11, "color": INK})
    return finish(drawn, "Head against tail: no trial beats those with a number", 460)
