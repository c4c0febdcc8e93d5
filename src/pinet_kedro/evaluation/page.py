"""HTML pages in one style, self-contained: nothing is loaded from the network."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure

from pinet_kedro.evaluation.figures import share

_NONE = "–"


def render(template: Path, **values: Any) -> str:
    """The page of a template, whose neighbours it may include as well as `style.css`; numbers by the filters below."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, count=count, share=_share, day=day, tied=_tied, shown=_shown)
    return environment.get_template(template.name).render(**values)


def embed(name: str, figure: Figure) -> dict[str, Any]:
    """The figure as a div; its title becomes text of the page, which breaks into lines on a narrow screen."""
    caption = figure.layout.title.text or name.replace("_", " ")
    panels = len(list(figure.select_xaxes()))
    figure = Figure(figure).update_layout(title_text="", margin_t=32 if panels > 1 else 12, dragmode=False)
    options = {"responsive": True, "displayModeBar": False}
    div = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=options)
    return {"caption": caption, "html": Markup(div), "wide": panels > 1}


def number(value: float | None) -> str:
    """A metric with four decimals, or a dash."""
    return _NONE if value is None or not math.isfinite(value) else f"{value:.4f}"


def count(value: int | None) -> str:
    """A count with its thousands apart, or a dash."""
    return _NONE if value is None else f"{value:,}"


def day(seconds: int | None) -> str:
    """The date of a time (UTC), or a dash."""
    return _NONE if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _share(value: float | None) -> str:
    return _NONE if value is None else share(value, 1)


def _tied(text: str) -> str:
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _shown(value: Any) -> str:
    """The value as text, without the credentials that an address may carry."""
    if value is None:
        return _NONE
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"(?<=://)[^/@\s]+@", "…@", text)
