"""What training did: learning curves, the strata's weights, the plugins."""

import math
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.figures.style import GREY, finish, shade, style
from pinet_kedro.reporting.text import model_label, share

_CHOICES = {
    "none": ("no plugin", "#6e7681"),
    "shared": ("shared plugin", "#008291"),
    "own": ("own plugin", "#2371e7"),
}


def learning_curves_figure(curves: pd.DataFrame) -> Figure:
    """Two panels by epoch, base against backbone: training loss; validation NDCG@10 of head and tail users."""
    figure = make_subplots(
        1, 2, subplot_titles=("Training loss", "NDCG@10 on validation targets"), horizontal_spacing=0.12
    )
    last: dict[str, list[str]] = {"tail": [], "head": []}
    for model, table in curves.groupby("model", sort=False):
        label, (color, symbol) = model_label(str(model)), style(str(model))
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
    figure.update_yaxes(title="NDCG@10", rangemode="tozero", row=1, col=2)
    ends = [f"{group} users {', '.join(values)}" for group, values in last.items() if values]
    statement = "NDCG@10 at the last validation: " + ("; ".join(ends) or "not measured")
    reading = (
        "Left: the loss falls while a model learns. Right: the quality on validation targets, solid for tail and "
        "dashed for head users; where a line falls at its end, the model was trained too long."
    )
    return finish(figure, statement, reading, height=460)


def stratum_weights_figure(curves: pd.DataFrame) -> Figure:
    """The strata's weights in the backbone's aggregated gradient by epoch; stratum 1 is the least active."""
    table = curves[curves["model"] == "backbone"]
    columns = [c for c in table.columns if str(c).startswith("weight_stratum_")]
    figure = Figure()
    for a, column in enumerate(columns):
        place = {0: ", least active", len(columns) - 1: ", most active"}.get(a, "")
        figure.add_scatter(
            x=table["epoch"], y=table[column], mode="lines", name=f"stratum {a + 1}{place}",
            line={"color": shade(a, len(columns)), "width": 2.5, "dash": ("solid", "dash", "dashdot")[a % 3]},
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
    reading = (
        "A stratum above the dotted line has more than an equal share in what the backbone learns in an epoch, one "
        "below it less."
    )
    return finish(figure, statement, reading, height=400)


def plugin_weights_figure(plugins: pd.DataFrame) -> Figure:
    """The fitted weights of each stratum's plugin; only the chosen plugin where its kind has no named weights."""
    counts = plugins["choice"].value_counts()
    taken = [f"{counts[choice]} {choice}" for choice in _CHOICES if choice in counts]
    statement = f"Plugins chosen by the {len(plugins)} strata: " + ", ".join(taken)
    rows = [f"{s} · {label}" for s, label in zip(plugins["stratum"], plugins["label"], strict=True)]
    names = [str(name) for name in plugins if name not in ("stratum", "label", "choice")]
    reading = (
        "Each row is a stratum, the least active users first; a bar is the weight of a scorer in an item's score: "
        "right of 0 it speaks for the item, left of 0 against it."
        if names
        else "Each row is a stratum, the least active users first, with the plugin that validation has chosen for it."
    )
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
        figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], title="stratum · events of a user")
        return finish(figure, statement, reading, height=180 + 34 * len(rows))
    # Each weight has its own scale, so it gets its own axis.
    columns = 2
    cells: list[list[dict[str, Any] | None]] = [
        [{} if r * columns + c < len(names) else None for c in range(columns)]
        for r in range(math.ceil(len(names) / columns))
    ]
    figure = make_subplots(
        len(cells), columns, specs=cells, shared_yaxes=True, subplot_titles=[name.capitalize() for name in names],
        horizontal_spacing=0.06, vertical_spacing=0.15,
    )  # fmt: skip
    for i, name in enumerate(names):
        for choice, (text, color) in _CHOICES.items():
            mask = (plugins["choice"] == choice).tolist()
            if any(mask):
                figure.add_bar(
                    x=plugins.loc[mask, name], y=[row for row, m in zip(rows, mask, strict=True) if m], orientation="h",
                    name=text, legendgroup=choice, showlegend=i == 0, marker={"color": color},
                    hovertemplate=f"stratum %{{y}}: {name.capitalize()} = %{{x:.3f}}<extra>{text}</extra>",
                    row=i // columns + 1, col=i % columns + 1,
                )  # fmt: skip
    figure.update_xaxes(title="weight", zeroline=True, zerolinecolor=GREY, zerolinewidth=1)
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], showgrid=False)
    figure.update_yaxes(title="stratum · events of a user", col=1)
    figure.update_layout(barmode="overlay", bargap=0.35)
    return finish(figure, statement, reading, height=220 + (50 + 28 * len(rows)) * len(cells))
