"""What an evaluation shows: gains over the base, and all models by quintile of activeness."""

from textwrap import wrap
from typing import Any

from plotly.graph_objects import Figure

from pinet_kedro.figures.style import DASHES, GREY, GROUP_STYLE, finish, style
from pinet_kedro.reporting.text import GROUP_LABELS, gain, model_label, with_interval

_STEP = 0.07  # of the distance between two fifths: a model's marks stand beside those of the others


def gains_figure(evaluation: dict[str, Any]) -> Figure:
    """Forest plot of each model's relative gain in NDCG@10 over the base, with 95 % intervals, by group of users."""
    models = [pair.removesuffix("_vs_base") for pair in evaluation["comparisons"] if pair.endswith("_vs_base")]
    figure = Figure()
    for (group, (color, symbol)), offset in zip(GROUP_STYLE.items(), (0.24, 0.0, -0.24), strict=True):
        rows = [(gain(evaluation, f"{model}_vs_base", group), model, offset - i) for i, model in enumerate(models)]
        known = [(values, model, y) for values, model, y in rows if values is not None]
        for _, _, y in (row for row in rows if row[0] is None):
            text = f"{GROUP_LABELS[group]}: not measured"
            figure.add_annotation(x=0, y=y, text=text, showarrow=False, font_color=color)
        figure.add_scatter(
            x=[values[0] for values, _, _ in known], y=[y for _, _, y in known], mode="markers",
            name=GROUP_LABELS[group], marker={"color": color, "symbol": symbol, "size": 9},
            error_x={
                "array": [high - relative for (relative, _, high), _, _ in known],
                "arrayminus": [relative - low for (relative, low, _), _, _ in known],
                "thickness": 2, "width": 4, "color": color,
            },
            customdata=[[model_label(model), with_interval(values)] for values, model, _ in known],
            hovertemplate=f"%{{customdata[0]}}<br>{GROUP_LABELS[group]}: %{{customdata[1]}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "width": 1.5})
    figure.update_xaxes(title="gain in NDCG@10 over the base", tickformat="+.0%")
    figure.update_yaxes(
        tickvals=[-i for i in range(len(models))], ticktext=["<br>".join(wrap(model_label(m), 15)) for m in models],
        range=[0.5 - len(models), 0.5], showgrid=False, zeroline=False,
    )  # fmt: skip
    tail, head = (with_interval(gain(evaluation, "pin_vs_base", group)) for group in ("tail", "head"))
    statement = f"PIN against the base: tail users {tail}, head users {head}"
    reading = (
        "Each mark is a model's gain over the base, each bar its 95 % interval: right of 0 is a gain, left of it a "
        "loss, and a bar that crosses 0 shows no difference."
    )
    return finish(figure, statement, reading, height=160 + 80 * len(models))


def quintiles_figure(evaluation: dict[str, Any]) -> Figure:
    """NDCG@10 of every model by quintile of activeness, for the quintiles that have users."""
    models = evaluation["models"]
    quintiles = sorted({g for groups in models.values() for g in groups if g not in GROUP_LABELS})
    figure = Figure()
    for i, (model, groups) in enumerate(models.items()):
        color, symbol = style(model)
        present = [(place + _STEP * (i - (len(models) - 1) / 2), q) for place, q in enumerate(quintiles) if q in groups]
        figure.add_scatter(
            x=[x for x, _ in present], y=[groups[q]["ndcg_at_10"] for _, q in present], mode="lines+markers",
            name=model_label(model), customdata=[[q.upper(), groups[q]["users"]] for _, q in present],
            line={"color": color, "width": 2, "dash": DASHES.get(model, "solid")},
            marker={"symbol": symbol, "size": 10},
            hovertemplate=f"{model_label(model)}, %{{customdata[0]}}: %{{y:.4f}}<br>%{{customdata[1]:,}} users"
            "<extra></extra>",
        )  # fmt: skip
    both = [(models["pin"][q], models["base"][q]) for q in quintiles if q in models["pin"] and q in models["base"]]
    above = sum(pin["ndcg_at_10"] > base["ndcg_at_10"] for pin, base in both)
    figure.update_xaxes(
        title="fifths of the users, Q1 = least active", tickvals=list(range(len(quintiles))),
        ticktext=[q.upper() for q in quintiles], showgrid=False,
    )  # fmt: skip
    figure.update_yaxes(title="NDCG@10", rangemode="tozero")
    statement = f"PIN is above the base in {above} of {len(both)} fifths of the users by activeness"
    reading = (
        "From the least active fifth on the left to the most active one on the right: the higher a line, the better "
        "the model ranks what these users took next. Marks of one fifth are side by side, so that none hides another."
    )
    return finish(figure, statement, reading, height=440)
