"""How active the users are: the long tail and its thresholds."""

from itertools import pairwise

import numpy as np
from jaxtyping import Int
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.figures.style import GREY, GROUP_STYLE, finish
from pinet_kedro.reporting.text import GROUP_LABELS, share

_LORENZ_POINTS = 500


def long_tail_figure(activeness: Int[np.ndarray, " U"], strata: ReportingStrata) -> Figure:
    """Two panels: Lorenz curve of the training events over users; histogram of activeness with thresholds."""
    ordered = np.sort(np.asarray(activeness))
    n = len(ordered)
    threshold = strata.head_tail.thresholds[0]
    n_tail = int(np.searchsorted(ordered, threshold))
    users = np.arange(n + 1) / n
    events = np.concatenate([[0], np.cumsum(ordered)]) / ordered.sum()
    head_users, head_events = 1 - users[n_tail], 1 - events[n_tail]

    statement = f"The most active {share(head_users)} of users have {share(head_events)} of the training events"
    titles = ("Share of events, from the least active user on", "How active users are")
    figure = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.12)
    points = np.unique(np.append(np.linspace(0, n, min(n, _LORENZ_POINTS) + 1).round().astype(int), n_tail))
    figure.add_scatter(
        x=users[points], y=events[points], name="events held", line={"color": GREY, "width": 2.5}, showlegend=False,
        hovertemplate="the least active %{x:.1%} of users<br>have %{y:.1%} of the events<extra></extra>",
        row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot", "width": 1}, showlegend=False,
        hoverinfo="skip", row=1, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=[users[n_tail]], y=[events[n_tail]], mode="markers", showlegend=False,
        marker={"color": GROUP_STYLE["head"][0], "size": 11, "symbol": GROUP_STYLE["head"][1]},
        hovertemplate=f"{statement}<extra></extra>", row=1, col=1,
    )  # fmt: skip
    figure.add_vrect(
        x0=users[n_tail], x1=1, fillcolor=GROUP_STYLE["head"][0], opacity=0.1, line_width=0, layer="below",
        row=1, col=1,
    )  # fmt: skip
    figure.add_annotation(
        x=users[n_tail], y=events[n_tail],
        text=f"head: {share(head_users)} of users,<br>{share(head_events)} of events",
        ax=-20, ay=-70, xanchor="right", align="right", arrowcolor=GREY, row=1, col=1,
    )  # fmt: skip
    figure.update_xaxes(title="share of users", tickformat=".0%", range=[0, 1], row=1, col=1)
    figure.update_yaxes(title="share of training events", tickformat=".0%", range=[0, 1.01], row=1, col=1)

    edges = _edges(int(ordered[0]), int(ordered[-1]))
    left, right = _position(edges[:-1]), _position(edges[1:])
    spans = [f"{a}" if a + 1 == b else f"{a}–{b - 1}" for a, b in pairwise(edges)]
    top = np.histogram(ordered, edges)[0].max()
    for group, part in (("tail", ordered[:n_tail]), ("head", ordered[n_tail:])):
        figure.add_bar(
            x=(left + right) / 2, width=right - left, y=np.histogram(part, edges)[0], customdata=spans,
            name=f"{GROUP_LABELS[group]} ({'below' if group == 'tail' else 'from'} {threshold} events)",
            marker={"color": GROUP_STYLE[group][0], "line": {"color": "white", "width": 0.5}},
            hovertemplate=f"%{{y:,}} {group} users with %{{customdata}} events<extra></extra>", row=1, col=2,
        )  # fmt: skip
    cuts = strata.training.thresholds
    lines = [(x, y) for t in _position(np.asarray(cuts)) for x, y in ((t, 0), (t, top * 1.05), (None, None))]
    figure.add_scatter(
        x=[x for x, _ in lines], y=[y for _, y in lines], mode="lines", hoverinfo="skip",
        name=f"training strata begin at {', '.join(map(str, cuts))} events",
        line={"color": GREY, "dash": "dot", "width": 1.5}, row=1, col=2,
    )  # fmt: skip
    ticks = [m * 10**e for e in range(len(str(ordered[-1]))) for m in (1, 2, 5) if ordered[0] <= m * 10**e < edges[-1]]
    ticks = ([0] if ordered[0] == 0 else []) + (ticks or [int(ordered[0])])
    figure.update_xaxes(
        title="training events of a user (log scale)", tickvals=_position(np.asarray(ticks)), ticktext=ticks,
        row=1, col=2,
    )  # fmt: skip
    figure.update_yaxes(title="users", rangemode="tozero", row=1, col=2)
    figure.update_layout(barmode="stack", bargap=0, legend_traceorder="normal")
    reading = (
        "Left: the share of events that the least active users have together; the further the curve is below the "
        "dotted line of equal shares, the longer the tail. Right: how many users have so many events."
    )
    return finish(figure, statement, reading, height=460)


def _edges(least: int, most: int) -> Int[np.ndarray, " E"]:
    """Integer edges of about 30 bins of equal width on a log scale; 0 has its own bin."""
    grown = np.unique(np.geomspace(max(least, 1), most + 1, 31).round().astype(int))
    return np.append(0, grown) if least == 0 else grown


def _position(events: Int[np.ndarray, " E"]) -> np.ndarray:
    """Position on a logarithmic axis; 0 is placed at ½."""
    return np.log10(np.maximum(events, 0.5))
