"""What studies show: the benchmark of methods, and the noise of gradients."""

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from pinet_kedro.figures.style import GREY, GROUP_STYLE, MODEL_STYLE, finish, shade
from pinet_kedro.reporting.text import GROUP_LABELS, METRIC_LABELS


def benchmark_forest_figure(table: pd.DataFrame) -> Figure:
    """Forest plot of one metric: each method's gain over the reference, head and tail, that has a 95 % interval."""
    shown = table[table["group"].isin(("tail", "head")) & table["low"].notna()]  # a mark without one would look certain
    shown = shown.assign(label=shown["model"].astype(str) + ", " + shown["backbone"].astype(str))
    labels = list(dict.fromkeys(shown["label"]))  # a group without test users is missing
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
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    figure.update_yaxes(tickvals=[-i for i in range(len(labels))], ticktext=labels)
    figure.update_xaxes(title=f"gain over the reference in {_metric(table)}", tickformat="+.0%")
    statement = f"Gain of head and tail users over the reference in {_metric(table)}"
    reading = (
        "Each mark is a method's gain, each bar its 95 % interval: right of 0 is a gain, left of it a loss, and a bar "
        "that crosses 0 shows no difference."
    )
    return finish(figure, statement, reading, height=160 + 46 * len(labels))


def benchmark_pareto_figure(table: pd.DataFrame) -> Figure:
    """Scatter plot of one metric: head users against tail users, one point per method and backbone."""
    wide = table.pivot_table(index=["backbone", "model"], columns="group", values="value", sort=False).reset_index()
    figure = Figure()
    both = {"tail", "head"} <= set(wide.columns)  # a group without test users is not in the table
    for i, (backbone, rows) in enumerate(wide.groupby("backbone", sort=False) if both else ()):
        color, symbol = list(MODEL_STYLE.values())[-1 - i % len(MODEL_STYLE)]
        figure.add_scatter(
            x=rows["tail"], y=rows["head"], mode="markers+text", name=str(backbone), text=rows["model"],
            textposition="top center", marker={"size": 10, "color": color, "symbol": symbol},
            hovertemplate="%{text}: tail %{x:.4f}, head %{y:.4f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=f"{_metric(table)} of tail users")
    figure.update_yaxes(title=f"{_metric(table)} of head users")
    statement = f"{_metric(table)} of head users against that of tail users"
    return finish(figure, statement, "Each mark is a method: up and to the right is better for both.", height=560)


def _metric(table: pd.DataFrame) -> str:
    return METRIC_LABELS[table["metric"].iloc[0]]


def gradient_noise_figure(table: pd.DataFrame) -> Figure:
    """Noise scale of each stratum's gradient at each checkpoint, beside the users in a step and in the stratum.

    One panel per part of the parameters. Error bars are two standard errors. A noise scale is left out where it is
    infinite, that is, where no signal was found.
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
            color = shade(i, len(epochs))
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
    reading = (
        "Where a stratum's noise scale (solid) is above the number of its users in a step (dotted), the gradient of a "
        "step is more noise than signal."
    )
    return finish(figure, statement, reading, height=480)
