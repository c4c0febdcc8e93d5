"""Optuna's figures of a study, in the words of this project; head and tail side by side."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna import visualization
from optuna.trial import FrozenTrial, TrialState
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.reporting.figures.style import GREY, GROUP_STYLE, INK, finish
from pinet_kedro.studies.tuning.study import Record, is_feasible
from pinet_kedro.studies.tuning.trial import GROUPS

if TYPE_CHECKING:
    from optuna import Study

_NAMES = {"head": "Head NDCG@10", "tail": "Tail NDCG@10"}
_LEAST = 2  # trials that came to their end, for a figure to say anything


def draw(study: "Study", record: Record) -> tuple[Figure, Figure, Figure, Figure]:
    """History, importances, slices and front of a study; one that has too few trials says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < _LEAST:
            said = f"{len(done)} of the trials came to its end: nothing to be drawn"
            empty = finish(Figure(), said, 300)
            return empty, empty, empty, empty
        return _history(study, record), _importances(study), _slices(study, record), _front(study, record, done)


def _target(group: str) -> Callable[[FrozenTrial], float]:
    return lambda trial: trial.user_attrs[group]


def _history(study: "Study", record: Record) -> Figure:
    figure = make_subplots(1, 2, subplot_titles=list(_NAMES.values()), horizontal_spacing=0.1)
    for column, group in enumerate(GROUPS, 1):
        drawn = visualization.plot_optimization_history(study, target=_target(group), target_name=_NAMES[group])
        for trace in drawn.data:
            _add(figure, trace, column, group)
        _base_line(figure, record, group, column)
    figure.update_xaxes(title_text="trial")
    done, given_up = (record.states.get(state, 0) for state in ("complete", "pruned"))
    return finish(
        figure, f"{done} trials came to their end, {given_up} were given up before; the line is the base", 380
    )


def _importances(study: "Study") -> Figure:
    figure, most = make_subplots(1, 2, subplot_titles=list(_NAMES.values()), horizontal_spacing=0.25), {}
    for column, group in enumerate(GROUPS, 1):
        drawn = visualization.plot_param_importances(study, target=_target(group), target_name=_NAMES[group])
        for trace in drawn.data:
            names = [_short(name) for name in trace.y or ()]
            trace.update(y=names, marker_color=GROUP_STYLE[group][0], showlegend=False)
            figure.add_trace(trace, row=1, col=column)
            if len(names):
                most[group] = names[-1]
    said = ", ".join(f"{group} by {name}" for group, name in most.items()) or "nothing can be said"
    return finish(figure, f"What moves a trial's figures most: {said}", 340)


def _slices(study: "Study", record: Record) -> Figure:
    tried = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
    names = [name for name in record.space if name in tried]
    figure = make_subplots(
        2, len(names), shared_yaxes=True, vertical_spacing=0.08, horizontal_spacing=0.02,
        column_titles=[_short(name) for name in names],
    )  # fmt: skip
    for row, group in enumerate(GROUPS, 1):
        for column, name in enumerate(names, 1):
            drawn = visualization.plot_slice(study, [name], target=_target(group), target_name=_NAMES[group])
            for trace in drawn.data:
                _add(figure, trace, column, group, row)
            if record.space[name].get("log"):
                figure.update_xaxes(type="log", row=row, col=column)
        figure.update_yaxes(title_text=_NAMES[group], row=row, col=1)
    return finish(figure, "Every trial at the values that it tried", 520)


def _front(study: "Study", record: Record, done: list[FrozenTrial]) -> Figure:
    drawn = visualization.plot_pareto_front(
        study, target_names=[_NAMES[group] for group in GROUPS],
        targets=lambda trial: [trial.user_attrs[group] for group in GROUPS],
    )  # fmt: skip
    for trace in drawn.data:
        trace.marker.update(color=GREY, showscale=False, size=9)
    drawn.add_scatter(
        x=[record.base["head"]], y=[record.base["tail"]], mode="markers+text", text=["base"], showlegend=False,
        textposition="top center", marker={"symbol": "x", "size": 11, "color": INK},
        hovertemplate="base: head %{x:.4f}, tail %{y:.4f}<extra></extra>",
    )  # fmt: skip
    best = [trial for trial in done if trial.number in record.front]
    drawn.add_scatter(
        x=[trial.user_attrs["head"] for trial in best], y=[trial.user_attrs["tail"] for trial in best],
        mode="markers+text", text=[str(trial.number) for trial in best], textposition="top center", showlegend=False,
        marker={"size": 11, "color": GROUP_STYLE["tail"][0]}, hoverinfo="skip",
    )  # fmt: skip
    if record.objective == "tail":
        able = sum(map(is_feasible, done))
        return finish(
            drawn, f"{able} of {len(done)} trials keep the head of the base; numbers: the best tail of them", 460
        )
    whose = "the one whose number stands" if len(best) == 1 else f"the {len(best)} whose numbers stand"
    return finish(drawn, f"Head against tail: no trial beats {whose} here", 460)


def _add(figure: Figure, trace: Any, column: int, group: str, row: int = 1) -> None:
    trace.showlegend = False
    if trace.mode == "markers":
        # Not Optuna's shade for a trial's number either, in which the first ones are nearly white.
        trace.marker.update(color=GROUP_STYLE[group][0], showscale=False)
    if trace.line.color is None or trace.mode == "lines":
        trace.line.color = GROUP_STYLE[group][0]
    figure.add_trace(trace, row=row, col=column)


def _base_line(figure: Figure, record: Record, group: str, column: int) -> None:
    figure.add_hline(record.base[group], line={"color": INK, "dash": "dot", "width": 1}, row=1, col=column)


def _short(name: str) -> str:
    return ".".join(name.split(".")[-2:])
