"""The page that says what a promotion decided, and why."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import pinet_kedro.evaluation
from pinet_kedro.evaluation.figures import GROUP_LABELS, gain_of, with_interval
from pinet_kedro.operations.decision import Decision

_WIDTH = 200  # of an interval's drawing


def render_promotion(decision: Decision) -> str:
    """A self-contained HTML page in the style of the report; nothing is loaded from the network."""
    folders = [Path(__file__).parent, Path(pinet_kedro.evaluation.__file__).parent]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tied"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    groups = [_group(name, values) for name, values in decision.groups.items()]
    ends = [0.0, *(g[end] for g in groups for end in ("low", "high"))]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0
    place = lambda value: f"{_WIDTH * (value - low) / span:.1f}"  # noqa: E731
    template = environment.get_template("promotion.html.j2")
    return template.render(decision=decision, groups=groups, place=place, width=_WIDTH)


def _group(name: str, values: dict[str, Any]) -> dict[str, Any]:
    gain = gain_of(values["gain"])
    relative, low, high = gain or (0.0, 0.0, 0.0)
    effect = "undefined" if gain is None else "gain" if low > 0 else "loss" if high < 0 else "none"
    label = GROUP_LABELS.get(name, f"Quintile {name[1:]}")
    return {
        **values, "label": label, "known": gain is not None, "relative": relative, "low": low, "high": high,
        "effect": effect, "text": with_interval(gain),
    }  # fmt: skip
