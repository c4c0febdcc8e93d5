"""The one style of all figures: colours, markers and layout."""

from plotly import graph_objects as go
from plotly.graph_objects import Figure

INK, GREY, _GRID = "#22272e", "#68707a", "#e4e7eb"
# Darkened from Okabe & Ito (2008) to a contrast of at least 3:1 on white; every series also has its own marker or dash.
MODEL_STYLE = {
    "base": (GREY, "circle"),
    "backbone": ("#b26b00", "square"),
    "plugins_alone": ("#a8456f", "x"),
    "base_shared_plugin": ("#2b8fc4", "triangle-up"),
    "base_plugins": ("#00805d", "diamond"),
    "pin": ("#00457c", "star"),
}
GROUP_STYLE = {"all": (INK, "circle"), "tail": ("#c24e00", "diamond"), "head": ("#4b3fa0", "square")}


def finish(figure: Figure, statement: str, height: int) -> Figure:
    """The figure with the layout and template that all figures share."""
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


def style(model: str) -> tuple[str, str]:
    return MODEL_STYLE.get(model, ("#8a3b7a", "x"))


def shade(index: int, count: int) -> str:
    """Colour `index` of `count`, from the colour of tail users (least active) to that of head users (most active)."""
    low, high = ([int(GROUP_STYLE[g][0][i : i + 2], 16) for i in (1, 3, 5)] for g in ("tail", "head"))
    t = index / max(count - 1, 1)
    return "#" + "".join(f"{round(a + t * (b - a)):02x}" for a, b in zip(low, high, strict=True))
