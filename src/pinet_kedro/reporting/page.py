"""HTML pages in one style. They load nothing from the network and execute nothing that comes from the data.

Figures are drawn by plotly.js' basic bundle, which is in this folder: 1.1 MB in each page with figures, a quarter of
the whole library. It has the traces `scatter`, `bar` and `pie`.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure

from pinet_kedro.printable import printable
from pinet_kedro.reporting.text import NONE, count, day, number, plural, rank, share, shown

_HERE = Path(__file__).parent
PLOTLY = _HERE / "plotly-basic.min.js"
_NAV = re.compile(r"<nav>.*?</nav>\n", re.DOTALL)
# What plotly reads as markup in the texts of a figure, except line breaks and the second box of a hover label.
_MARKUP = re.compile(r"&|<(?!/?(?:br|extra)>)")


def render(
    template: Path, figures: Mapping[str, Figure] | None = None, home: str | None = "index.html", **values: Any
) -> str:
    """The HTML of a template, which extends `page.html.j2` and formats numbers with the filters below.

    This is the only place that escapes values; `printable` makes invisible characters visible. The page's
    Content-Security-Policy is a second line of defence: it allows plotly and `page.js` by their hashes if there are
    figures, and no other script, inline handler or address. `home` is the start page, relative to the page; None for a
    page without one.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, count=count, plural=plural, share=_share, day=day, tied=_tied, shown=shown, rank=rank
    )
    scripts = [path.read_text(encoding="utf-8") for path in (PLOTLY, _HERE / "page.js")] if figures else []
    return environment.get_template(template.name).render(
        policy=_policy(scripts),
        home=home,
        scripts=list(map(Markup, scripts)),
        figures={name: _embed(name, figure) for name, figure in (figures or {}).items()},
        **values,
    )


def render_figures(title: str, figures: Mapping[str, Figure], home: str | None = None) -> str:
    """The HTML of a page that has only figures."""
    return render(_HERE / "figures.html.j2", figures, home, title=title)


def without_home(page: str) -> str:
    """The page for a place without a start page, such as a tracking server."""
    return _NAV.sub("", page, count=1)


def _policy(scripts: list[str]) -> str:
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts] or ["'none'"]
    # Plotly uses inline styles.
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embed(name: str, figure: Figure) -> dict[str, Any]:
    """The figure as data; its title becomes a caption of the page, which wraps on a narrow screen.

    How to read it (`figures.style.finish`) is under the caption; both are also the text for who cannot see the figure.
    """
    about = figure.layout.meta or {}
    caption = about.get("statement") or figure.layout.title.text or name.replace("_", " ")
    panels = len(list(figure.select_xaxes()))
    figure = Figure(figure).update_layout(title_text="", margin_t=32 if panels > 1 else 12, dragmode=False)
    data = json.dumps(_drawn(json.loads(figure.to_json())))
    return {"caption": caption, "reading": about.get("reading", ""), "data": data, "wide": panels > 1}


def _drawn(value: Any) -> Any:
    """The figure with all texts escaped: plotly would interpret some HTML in them, links included."""
    if isinstance(value, str):
        return _MARKUP.sub(lambda found: {"&": "&amp;", "<": "&lt;"}[found[0]], printable(value))
    if isinstance(value, dict):
        return {key: _drawn(item) for key, item in value.items()}
    return [_drawn(item) for item in value] if isinstance(value, list) else value


def _share(value: float | None) -> str:
    return NONE if value is None else share(value, 1)


def _tied(text: str) -> str:
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
