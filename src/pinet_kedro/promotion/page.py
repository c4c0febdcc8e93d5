"""The page of a promotion: the decision and its reasons."""

from pathlib import Path
from typing import Any

from pinet_kedro.promotion.decision import Decision
from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS, QUINTILE_LABELS, effect, gain_of, with_interval

_WIDTH = 200  # pixels of an interval's drawing


def render_promotion(decision: Decision) -> str:
    """A self-contained HTML page in the style of the report; nothing is loaded from the network."""
    groups = [_group(name, values) for name, values in decision.groups.items()]
    ends = [0.0, *(g[end] for g in groups for end in ("low", "high"))]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0
    place = lambda value: f"{_WIDTH * (value - low) / span:.1f}"  # noqa: E731
    template = Path(__file__).with_name("promotion.html.j2")
    return render(template, decision=decision, groups=groups, place=place, width=_WIDTH)


def _group(name: str, values: dict[str, Any]) -> dict[str, Any]:
    gain = gain_of(values["gain"])
    relative, low, high = gain or (0.0, 0.0, 0.0)
    label = (GROUP_LABELS | QUINTILE_LABELS)[name]
    return {
        **values, "label": label, "known": gain is not None, "relative": relative, "low": low, "high": high,
        "effect": effect(gain), "text": with_interval(gain),
    }  # fmt: skip
