"""The one style of all figures: colours, markers and layout."""

from textwrap import wrap

from plotly import graph_objects as go
from plotly.graph_objects import Figure

# Every colour that is drawn has the luminance 0.18: its contrast is above 4.5:1 on white and on black, and 3.9:1 on the
# backgrounds of kedro-viz, #eeeeee and #111111, which replace ours (no colour has more than 4.03:1 on both). So each
# series has its own marker or dash, and text has the colour of the theme. Hues after Okabe & Ito (2008).
GREY = "#6e7681"
MODEL_STYLE = {
    "base": (GREY, "circle"),
    "backbone": ("#a96600", "square"),
    "plugins_alone": ("#bf4c81", "x"),
    "base_shared_plugin": ("#008291", "triangle-up"),
    "base_plugins": ("#008661", "diamond"),
    "pin": ("#2371e7", "star"),
}
# Models whose line is not solid; two that coincide are then told apart.
DASHES = {"base": "dot", "backbone": "dash", "plugins_alone": "dashdot", "base_shared_plugin": "longdash"}
GROUP_STYLE = {"all": (GREY, "circle"), "tail": ("#c75000", "diamond"), "head": ("#7564da", "square")}
_INK, _GRID = "#22272e", "rgba(128, 128, 128, 0.25)"
_TITLE = 120  # characters of a title's line; viewers of single figures, such as kedro-viz, cut longer ones


def finish(figure: Figure, statement: str, reading: str, height: int) -> Figure:
    """The figure with the layout and template that all figures share.

    `statement` is what it shows, `reading` how to read it, in one sentence each; both are in `layout.meta` for pages.
    """
    axis = {
        "gridcolor": _GRID, "linecolor": GREY, "showline": True, "ticks": "outside", "tickcolor": GREY,
        "automargin": True, "title": {"font": {"size": 13}, "standoff": 12}, "zeroline": False,
    }  # fmt: skip
    template = go.layout.Template(
        layout={
            "font": {"family": "system-ui, 'Segoe UI', Roboto, Helvetica, sans-serif", "size": 13, "color": _INK},
            "title": {"font": {"size": 17}, "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container",
                      "yanchor": "top", "pad": {"t": 16}},
            "paper_bgcolor": "white", "plot_bgcolor": "white", "xaxis": axis, "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
            "margin": {"l": 60, "r": 24, "t": 84, "b": 60},
            "hoverlabel": {"bgcolor": "white", "font": {"color": _INK, "size": 13}},
        }
    )  # fmt: skip
    figure.update_annotations(font_size=13)
    title, meta = "<br>".join(wrap(statement, _TITLE)), {"statement": statement, "reading": reading}
    return figure.update_layout(template=template, title_text=title, meta=meta, height=height)


def style(model: str) -> tuple[str, str]:
    return MODEL_STYLE.get(model, ("#a454bb", "x"))


def shade(index: int, count: int) -> str:
    """Colour `index` of `count`, from the colour of tail users (least active) to that of head users (most active).

    It is mixed in linear light, which keeps the luminance.
    """
    low, high = ([int(GROUP_STYLE[g][0][i : i + 2], 16) / 255 for i in (1, 3, 5)] for g in ("tail", "head"))
    t = index / max(count - 1, 1)
    mixed = [(1 - t) * _linear(a) + t * _linear(b) for a, b in zip(low, high, strict=True)]
    return "#" + "".join(f"{round(255 * _gamma(value)):02x}" for value in mixed)


def _linear(value: float) -> float:
    """sRGB (IEC 61966-2-1) to linear light."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _gamma(value: float) -> float:
    return value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
