"""Plotly figures of a run. Every title states what is seen; the colours can be told apart by colour-blind readers."""

import math
from itertools import pairwise
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from plotly import graph_objects as go
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.activeness import ReportingStrata

MODEL_LABELS = {
    "base": "Base (joint training)",
    "backbone": "Aggregation alone",
    "plugins_alone": "Plugins without a backbone",
    "base_shared_plugin": "Base + one shared plugin",
    "base_plugins": "Base + plugins by stratum",
    "pin": "PIN (backbone + plugins by stratum)",
}
GROUP_LABELS = {"all": "All users", "tail": "Tail users", "head": "Head users"}
QUINTILE_LABELS = {f"q{q}": f"Quintile {q}" for q in range(1, 6)}

METRIC_LABELS = {"ndcg_at_10": "NDCG@10", "hr_at_10": "HR@10", "mrr": "MRR", "auc": "AUC"}
INK, GREY, _GRID = "#22272e", "#68707a", "#e4e7eb"
# Darkened from Okabe & Ito (2008) to at least 3:1 against white; every series also has a marker or dash of its own.
_MODEL_STYLE = {
    "base": (GREY, "circle"),
    "backbone": ("#b26b00", "square"),
    "plugins_alone": ("#a8456f", "x"),
    "base_shared_plugin": ("#2b8fc4", "triangle-up"),
    "base_plugins": ("#00805d", "diamond"),
    "pin": ("#00457c", "star"),
}
GROUP_STYLE = {"all": (INK, "circle"), "tail": ("#c24e00", "diamond"), "head": ("#4b3fa0", "square")}
_CHOICES = {
    "none": ("no plugin", "#b5bac1"),
    "shared": ("shared plugin", "#2b8fc4"),
    "own": ("own plugin", "#00457c"),
}
_WEIGHTS = {
    "backbone": "Backbone", "memory": "Memory", "factors": "Factors", "popularity": "Popularity", "recency": "Recency",
}  # fmt: skip
_LORENZ_POINTS = 500


def gain(evaluation: dict[str, Any], pair: str, group: str) -> tuple[float, float, float] | None:
    """`(relative, low, high)` of one comparison in NDCG@10, or None where it is undefined or was not made."""
    return gain_of(evaluation["comparisons"].get(pair, {}).get(group, {}).get("ndcg_at_10", {}))


def gain_of(entry: dict[str, float | None]) -> tuple[float, float, float] | None:
    """`(relative, low, high)` of a gain as `intervals.relative_gain` gives it, or None where it is undefined."""
    relative, low, high = (math.nan if (value := entry.get(n)) is None else value for n in ("relative", "low", "high"))
    return (relative, low, high) if all(map(math.isfinite, (relative, low, high))) else None


def percent(share: float, digits: int = 1) -> str:
    """The share as a signed percentage with a true minus sign, such as '−1.5 %'."""
    return f"{share * 100:+.{digits}f} %".replace("-", "−")


def share(value: float, digits: int = 0) -> str:
    """The share as a percentage, such as '20 %'."""
    return f"{value * 100:.{digits}f} %"


def with_interval(values: tuple[float, float, float] | None) -> str:
    """A gain and its 95 % interval, such as '+13.4 % [+11.0, +15.9]'."""
    if values is None:
        return "undefined"
    relative, low, high = values
    return f"{percent(relative)} [{percent(low)[:-2]}, {percent(high)[:-2]}]"


def long_tail_figure(activeness: Int[np.ndarray, " U"], strata: ReportingStrata) -> Figure:
    """Lorenz curve of the training events over users, and histogram of activeness with the strata's thresholds."""
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
        x=users[points], y=events[points], name="events held", line={"color": INK, "width": 2.5}, showlegend=False,
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
        line={"color": INK, "dash": "dot", "width": 1.5}, row=1, col=2,
    )  # fmt: skip
    ticks = [m * 10**e for e in range(len(str(ordered[-1]))) for m in (1, 2, 5) if ordered[0] <= m * 10**e < edges[-1]]
    ticks = ([0] if ordered[0] == 0 else []) + (ticks or [int(ordered[0])])
    figure.update_xaxes(
        title="training events of a user (log scale)", tickvals=_position(np.asarray(ticks)), ticktext=ticks,
        row=1, col=2,
    )  # fmt: skip
    figure.update_yaxes(title="users", rangemode="tozero", row=1, col=2)
    figure.update_layout(barmode="stack", bargap=0, legend_traceorder="normal")
    return finish(figure, statement, height=460)


def learning_curves_figure(curves: pd.DataFrame) -> Figure:
    """Training loss and validation NDCG@10 of head and tail users by epoch, base against backbone."""
    figure = make_subplots(
        1, 2, subplot_titles=("Training loss", "NDCG@10 on validation targets"), horizontal_spacing=0.12
    )
    last: dict[str, list[str]] = {"tail": [], "head": []}
    for model, table in curves.groupby("model", sort=False):
        label, (color, symbol) = _label(str(model)), _style(str(model))
        figure.add_scatter(
            x=table["epoch"], y=table["loss"], mode="lines", name=label, line={"color": color, "width": 2},
            hovertemplate=f"{label}, epoch %{{x}}: loss %{{y:.4f}}<extra></extra>", row=1, col=1,
        )  # fmt: skip
        for group, dash in (("tail", "solid"), ("head", "dash")):
            column = f"valid_ndcg_at_10_{group}"
            known = table.dropna(subset=[column]) if column in table else table[:0]
            if len(known) == 0:
                continue
            figure.add_scatter(
                x=known["epoch"], y=known[column], mode="lines+markers", name=f"{label}, {group} users",
                line={"color": color, "width": 2, "dash": dash}, marker={"symbol": symbol, "size": 6},
                hovertemplate=f"{label}, {group} users, epoch %{{x}}: %{{y:.4f}}<extra></extra>", row=1, col=2,
            )  # fmt: skip
            short = {"backbone": "aggregation"}.get(str(model), str(model))
            last[group].append(f"{short} {known[column].iloc[-1]:.4f}")
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="mean loss of a target", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    ends = [f"{group} users {', '.join(values)}" for group, values in last.items() if values]
    return finish(figure, "NDCG@10 at the last validation: " + ("; ".join(ends) or "not measured"), height=460)


def stratum_weights_figure(curves: pd.DataFrame) -> Figure:
    """The strata's weights in the backbone's aggregated gradient by epoch; stratum 1 is the least active."""
    table = curves[curves["model"] == "backbone"]
    columns = [c for c in table.columns if str(c).startswith("weight_stratum_")]
    figure = Figure()
    for a, column in enumerate(columns):
        place = {0: ", least active", len(columns) - 1: ", most active"}.get(a, "")
        figure.add_scatter(
            x=table["epoch"], y=table[column], mode="lines", name=f"stratum {a + 1}{place}",
            line={"color": _shade(a, len(columns)), "width": 2.5, "dash": ("solid", "dash", "dashdot")[a % 3]},
            hovertemplate=f"stratum {a + 1}{place}, epoch %{{x}}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    statement = "No weights of strata were recorded"
    if columns and len(table):
        uniform = 1 / len(columns)
        figure.add_scatter(
            x=table["epoch"].iloc[[0, -1]], y=[uniform, uniform], mode="lines", name=f"uniform, {share(uniform)}",
            line={"color": GREY, "dash": "dot", "width": 1.5}, hoverinfo="skip",
        )  # fmt: skip
        first, final = (share(table[column].iloc[-1]) for column in (columns[0], columns[-1]))
        statement = (
            f"Weight in the last epoch's update: least active stratum {first}, most active {final} (uniform would be "
            f"{share(uniform)} each)"
        )
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="weight in the update", tickformat=".0%", rangemode="tozero")
    return finish(figure, statement, height=400)


def gains_figure(evaluation: dict[str, Any]) -> Figure:
    """Forest plot of every model's relative gain in NDCG@10 over the base, with 95 % intervals, by group of users."""
    models = [pair.removesuffix("_vs_base") for pair in evaluation["comparisons"] if pair.endswith("_vs_base")]
    figure = Figure()
    for (group, (color, symbol)), offset in zip(GROUP_STYLE.items(), (0.24, 0.0, -0.24), strict=True):
        rows = [(gain(evaluation, f"{model}_vs_base", group), model, offset - i) for i, model in enumerate(models)]
        known = [(values, model, y) for values, model, y in rows if values is not None]
        for _, _, y in (row for row in rows if row[0] is None):
            text = f"{GROUP_LABELS[group]}: undefined"
            figure.add_annotation(x=0, y=y, text=text, showarrow=False, font_color=color)
        figure.add_scatter(
            x=[values[0] for values, _, _ in known], y=[y for _, _, y in known], mode="markers",
            name=GROUP_LABELS[group], marker={"color": color, "symbol": symbol, "size": 9},
            error_x={
                "array": [high - relative for (relative, _, high), _, _ in known],
                "arrayminus": [relative - low for (relative, low, _), _, _ in known],
                "thickness": 2, "width": 4, "color": color,
            },
            customdata=[[_label(model), with_interval(values)] for values, model, _ in known],
            hovertemplate=f"%{{customdata[0]}}<br>{GROUP_LABELS[group]}: %{{customdata[1]}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": INK, "width": 1.5})
    figure.update_xaxes(title="gain in NDCG@10", tickformat="+.0%")
    figure.update_yaxes(
        tickvals=[-i for i in range(len(models))], ticktext=["<br>".join(wrap(_label(m), 15)) for m in models],
        range=[0.5 - len(models), 0.5], showgrid=False, zeroline=False,
    )  # fmt: skip
    tail, head = (with_interval(gain(evaluation, "pin_vs_base", group)) for group in ("tail", "head"))
    return finish(figure, f"PIN against the base: tail users {tail}, head users {head}", height=160 + 80 * len(models))


def quintiles_figure(evaluation: dict[str, Any]) -> Figure:
    """NDCG@10 of every model by quintile of activeness, for the quintiles that have users."""
    models = evaluation["models"]
    quintiles = sorted({g for groups in models.values() for g in groups if g not in GROUP_LABELS})
    figure = Figure()
    for model, groups in models.items():
        color, symbol = _style(model)
        present = [q for q in quintiles if q in groups]
        figure.add_scatter(
            x=[q.upper() for q in present], y=[groups[q]["ndcg_at_10"] for q in present], mode="lines+markers",
            name=_label(model), customdata=[groups[q]["users"] for q in present],
            line={"color": color, "width": 2, "dash": "dot" if model == "base" else "solid"},
            marker={"symbol": symbol, "size": 10},
            hovertemplate=f"{_label(model)}, %{{x}}: %{{y:.4f}}<br>%{{customdata:,}} users<extra></extra>",
        )  # fmt: skip
    both = [(models["pin"][q], models["base"][q]) for q in quintiles if q in models["pin"] and q in models["base"]]
    above = sum(pin["ndcg_at_10"] > base["ndcg_at_10"] for pin, base in both)
    figure.update_xaxes(title="fifths of the users, Q1 = least active", type="category")
    figure.update_yaxes(title="NDCG@10", rangemode="tozero")
    return finish(figure, f"PIN is above the base in {above} of {len(both)} fifths of the users by activeness", 440)


def plugin_weights_figure(plugins: pd.DataFrame) -> Figure:
    """The fitted weights of every stratum's plugin; only which plugin it took where the kind has no named weights."""
    counts = plugins["choice"].value_counts()
    taken = [f"{counts[choice]} {choice}" for choice in _CHOICES if choice in counts]
    statement = f"Plugins that the {len(plugins)} strata took: " + ", ".join(taken)
    rows = [f"{s} · {label}" for s, label in zip(plugins["stratum"], plugins["label"], strict=True)]
    names = [name for name in _WEIGHTS if name in plugins]
    if not names:
        figure = Figure()
        figure.add_scatter(
            x=[_CHOICES[c][0] for c in plugins["choice"]], y=rows, mode="markers", showlegend=False,
            marker={"color": [_CHOICES[c][1] for c in plugins["choice"]], "size": 14},
            hovertemplate="stratum %{y}: %{x}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(
            categoryorder="array", categoryarray=[text for text, _ in _CHOICES.values()], range=[-0.5, 2.5]
        )
        figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], title="stratum")
        return finish(figure, statement, height=180 + 34 * len(rows))
    # The weights have scales of their own, so each has an axis of its own.
    columns = 2
    cells: list[list[dict[str, Any] | None]] = [
        [{} if r * columns + c < len(names) else None for c in range(columns)]
        for r in range(math.ceil(len(names) / columns))
    ]
    figure = make_subplots(
        len(cells), columns, specs=cells, shared_yaxes=True, subplot_titles=[_WEIGHTS[n] for n in names],
        horizontal_spacing=0.06, vertical_spacing=0.12,
    )  # fmt: skip
    for i, name in enumerate(names):
        for choice, (text, color) in _CHOICES.items():
            mask = (plugins["choice"] == choice).tolist()
            if any(mask):
                figure.add_bar(
                    x=plugins.loc[mask, name], y=[row for row, m in zip(rows, mask, strict=True) if m], orientation="h",
                    name=text, legendgroup=choice, showlegend=i == 0, marker={"color": color},
                    hovertemplate=f"stratum %{{y}}: {_WEIGHTS[name]} = %{{x:.3f}}<extra>{text}</extra>",
                    row=i // columns + 1, col=i % columns + 1,
                )  # fmt: skip
    figure.update_xaxes(zeroline=True, zerolinecolor=INK, zerolinewidth=1)
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], showgrid=False)
    figure.update_layout(barmode="overlay", bargap=0.35)
    return finish(figure, statement, height=220 + 28 * len(rows) * len(cells))


def _label(model: str) -> str:
    return MODEL_LABELS.get(model, model)


def _style(model: str) -> tuple[str, str]:
    return _MODEL_STYLE.get(model, ("#8a3b7a", "x"))


def _shade(index: int, count: int) -> str:
    """Colour `index` of `count` from vermilion (least active) to indigo (most active), as tail and head are drawn."""
    low, high = ([int(GROUP_STYLE[g][0][i : i + 2], 16) for i in (1, 3, 5)] for g in ("tail", "head"))
    t = index / max(count - 1, 1)
    return "#" + "".join(f"{round(a + t * (b - a)):02x}" for a, b in zip(low, high, strict=True))


def _edges(least: int, most: int) -> Int[np.ndarray, " E"]:
    """Whole-numbered edges of some 30 bins of equal width on a log scale; 0 has a bin of its own."""
    grown = np.unique(np.geomspace(max(least, 1), most + 1, 31).round().astype(int))
    return np.append(0, grown) if least == 0 else grown


def _position(events: Int[np.ndarray, " E"]) -> np.ndarray:
    """Place on a logarithmic axis; 0 stands where ½ would."""
    return np.log10(np.maximum(events, 0.5))


def finish(figure: Figure, statement: str, height: int) -> Figure:
    """The figure in the one style of all figures."""
    axis = {
        "gridcolor": _GRID, "linecolor": GREY, "showline": True, "ticks": "outside", "tickcolor": GREY,
        "automargin": True, "title": {"font": {"size": 13}, "standoff": 12}, "zeroline": False,
    }  # fmt: skip
    template = go.layout.Template(
        layout={
            "font": {"family": "system-ui, 'Segoe UI', Roboto, Helvetica, sans-serif", "size": 13, "color": INK},
            "title": {"font": {"size": 17}, "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container",
                      "yanchor": "top", "pad": {"t": 16}},
            "paper_bgcolor": "white", "plot_bgcolor": "white", "xaxis": axis, "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
            "margin": {"l": 60, "r": 24, "t": 84, "b": 60},
            "hoverlabel": {"bgcolor": "white", "font": {"color": INK, "size": 13}},
        }
    )  # fmt: skip
    figure.update_annotations(font_size=13)
    return figure.update_layout(template=template, title_text=statement, height=height)


def benchmark_forest_figure(table: pd.DataFrame) -> Figure:
    """Gain over the reference of every method and backbone, head against tail, with 95 % intervals; of one metric."""
    shown = table[table["group"].isin(("tail", "head")) & table["gain"].notna()]
    shown = shown.assign(label=shown["model"].astype(str) + ", " + shown["backbone"].astype(str))
    labels = list(dict.fromkeys(shown["label"]))  # head or tail may be missing where it has no test users
    figure = Figure()
    for group, offset in (("tail", 0.15), ("head", -0.15)):
        rows = shown[shown["group"] == group]
        color, symbol = GROUP_STYLE[group]
        figure.add_scatter(
            x=rows["gain"], y=[offset - labels.index(label) for label in rows["label"]], mode="markers",
            name=GROUP_LABELS[group], marker={"color": color, "symbol": symbol, "size": 9},
            error_x={"type": "data", "symmetric": False, "array": rows["high"] - rows["gain"],
                     "arrayminus": rows["gain"] - rows["low"], "color": color},
            customdata=rows[["backbone", "model", "low", "high"]],
            hovertemplate="%{customdata[1]} on %{customdata[0]}: %{x:+.1%} "
            f"[%{{customdata[2]:+.1%}}, %{{customdata[3]:+.1%}}]<extra>{GROUP_LABELS[group]}</extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    figure.update_yaxes(tickvals=[-i for i in range(len(labels))], ticktext=labels)
    figure.update_xaxes(title=f"gain over the reference in {_metric(table)}", tickformat="+.0%")
    return finish(figure, "Gain of head and tail users, with 95 % intervals", height=160 + 46 * len(labels))


def benchmark_pareto_figure(table: pd.DataFrame) -> Figure:
    """One metric of head users against that of tail users, one point for each method and backbone."""
    wide = table.pivot_table(index=["backbone", "model"], columns="group", values="value", sort=False).reset_index()
    figure = Figure()
    both = {"tail", "head"} <= set(wide.columns)  # a group without test users has no place in the table
    for backbone, rows in wide.groupby("backbone", sort=False) if both else ():
        figure.add_scatter(
            x=rows["tail"], y=rows["head"], mode="markers+text", name=str(backbone), text=rows["model"],
            textposition="top center", marker={"size": 10},
            hovertemplate="%{text}: tail %{x:.4f}, head %{y:.4f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=f"{_metric(table)} of tail users")
    figure.update_yaxes(title=f"{_metric(table)} of head users")
    return finish(figure, "Up and to the right is better for both", height=560)


def _metric(table: pd.DataFrame) -> str:
    return METRIC_LABELS[table["metric"].iloc[0]]


def gradient_noise_figure(table: pd.DataFrame) -> Figure:
    """Noise scale of every stratum's gradient at every checkpoint, against the users that a step and the stratum have.

    One panel for each part of the parameters. Error bars are two standard errors; a noise scale that is infinite,
    because no signal was found, is left out.
    """
    panels = list(table["part"].unique())
    names = {"all": "All parameters", "body": "Body", "items": "Item embeddings"}
    figure = make_subplots(
        1, len(panels), shared_yaxes=True, subplot_titles=[names.get(p, p) for p in panels], horizontal_spacing=0.04
    )
    epochs = sorted(table["epoch"].unique())
    for column, part in enumerate(panels, start=1):
        of_part = table[table["part"] == part]
        for i, epoch in enumerate(epochs):
            rows = of_part[of_part["epoch"] == epoch]
            color = _shade(i, len(epochs))
            figure.add_scatter(
                x=rows["label"], y=rows["noise_scale"].replace(np.inf, np.nan), mode="lines+markers",
                name=f"noise scale after epoch {epoch}", legendgroup=str(epoch), showlegend=column == 1,
                line={"color": color, "width": 2}, marker={"symbol": ("circle", "square", "diamond")[i % 3], "size": 8},
                error_y={"array": 2 * rows["noise_scale_error"], "color": color, "thickness": 1.5, "width": 3},
                customdata=rows[["step_cosine", "stratum_cosine"]],
                hovertemplate=f"epoch {epoch}, %{{x}}: %{{y:,.0f}} users<br>expected cosine with the true gradient: "
                "%{customdata[0]:.2f} of a step's users, %{customdata[1]:.2f} of as many as the stratum has"
                "<extra></extra>",
                row=1, col=column,
            )  # fmt: skip
        rows = of_part[of_part["epoch"] == epochs[-1]]
        for source, label, dash in (
            ("step_users", "users in a step", "dot"),
            ("users", "users in the stratum", "dash"),
        ):
            figure.add_scatter(
                x=rows["label"], y=rows[source], mode="lines", name=label, legendgroup=source, showlegend=column == 1,
                line={"color": GREY, "dash": dash, "width": 1.5}, row=1, col=column,
                hovertemplate=f"%{{x}}: %{{y:,}} {label}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title="training events of a user", type="category")
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title="users (log scale)", row=1, col=1)
    last = table[(table["part"] == panels[0]) & (table["epoch"] == epochs[-1])]
    step, whole = (f"{last[c].min():.2f} to {last[c].max():.2f}" for c in ("step_cosine", "stratum_cosine"))
    statement = (
        f"After epoch {epochs[-1]} a step's gradient of a stratum has the cosine {step} with the true one; "
        f"as many users as the stratum has, {whole}"
    )
    return finish(figure, statement, height=480)
