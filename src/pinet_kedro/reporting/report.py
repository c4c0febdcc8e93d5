"""The report page, and the few lines on the console, that say what an evaluation shows and what it does not."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from pinet_kedro.reporting.figures import GROUP_LABELS, MODEL_LABELS, gain, percent, share, with_interval
from pinet_kedro.reporting.page import count, number, render

# A loss of head users below this share counts as none: METHOD's "improved" is tail above 0 and head above −1 %.
_HEAD_MARGIN = 0.01
_PAIRS = {
    "base_plugins_vs_base": "What the plugins add to the base",
    "base_plugins_vs_plugins_alone": "What the base adds to the plugins",
    "pin_vs_plugins_alone": "What the backbone adds to the plugins",
    "base_plugins_vs_base_shared_plugin": "What plugins by stratum add to one for all",
    "pin_vs_base_shared_plugin": "What plugins by stratum add to one for all",
    "backbone_vs_base": "What the aggregation adds without plugins",
    "pin_vs_base_plugins": "What the aggregation adds under the same plugins",
    "pin_vs_base": "PIN against the base",
}
# Figures that have a place of their own in the template.
_PLACED = ("gains", "quintiles", "plugin_weights", "long_tail", "learning_curves", "stratum_weights")
_Z = 1.959964


def render_report(
    evaluation: dict[str, Any],
    figures: dict[str, Figure],
    cleaning: pd.DataFrame,
    configuration: dict[str, Any],
    run: dict[str, Any],
) -> str:
    """A self-contained HTML page: plotly.js is inlined, nothing is loaded from the network.

    `figures` by the names of the catalog (`long_tail_figure` or `long_tail`, …); a missing one is left out, and one
    that the page does not know stands at its end.
    """
    dropped = int(cleaning["rows"].sum())
    events = evaluation["data"].get("events")
    return render(
        Path(__file__).with_name("report.html.j2"),
        title=f"Long-tail recommendation on {evaluation['data'].get('name') or 'these data'}",
        figures={name.removesuffix("_figure"): figure for name, figure in figures.items() if figure.data},
        placed=_PLACED,
        gap=base_gap(evaluation),
        verdict=verdict(evaluation),
        improved=improved(evaluation),
        cards=[_card(evaluation, group) for group in ("tail", "head", "all")],
        additions=[
            (t, _additions(evaluation, pair)) for pair, t in _PAIRS.items() if pair in evaluation["comparisons"]
        ],
        aggregation=aggregation_effect(evaluation),
        groups=GROUP_LABELS,
        tables=_tables(evaluation),
        cleaning=cleaning.to_dict("records"),
        dropped=dropped,
        dropped_share=share(dropped / (events + dropped), 1) if events else None,
        protocol=evaluation["protocol"],
        data=evaluation["data"],
        versions=evaluation["versions"],
        configuration=configuration,
        run={str(key).replace("_", " "): value for key, value in run.items() if value is not None},
    )


def summary_lines(evaluation: dict[str, Any]) -> list[str]:
    """Short lines for the console: the base by group, PIN against it with intervals, and the verdict."""
    base = [f"{g} {number(_metric(evaluation, 'base', g))}" for g in ("head", "tail")]
    gains = [
        f"PIN, {group} users: NDCG@10 {number(_metric(evaluation, 'base', group))} → "
        f"{number(_metric(evaluation, 'pin', group))}, {with_interval(gain(evaluation, 'pin_vs_base', group))}"
        for group in ("tail", "head")
    ]
    effect = [aggregation_effect(evaluation, ["all"])] if "backbone" in evaluation["models"] else []
    return [f"Base: NDCG@10 {', '.join(base)}", *gains, verdict(evaluation), *effect]


def improved(evaluation: dict[str, Any]) -> bool:
    """Whether PIN improves on the base: the tail's interval is above 0 and the head's above −1 %."""
    tail, head = (gain(evaluation, "pin_vs_base", group) for group in ("tail", "head"))
    return tail is not None and head is not None and tail[1] > 0 and head[1] > -_HEAD_MARGIN


def verdict(evaluation: dict[str, Any]) -> str:
    """One or two sentences on what is shown about PIN against the base, and what is not."""
    tail, head = (gain(evaluation, "pin_vs_base", group) for group in ("tail", "head"))
    if tail is None or head is None:
        missing = [
            f"no {name} user has a test target"
            if _metric(evaluation, "base", name) is None
            else f"the base has no hit among {name} users, so their gain is undefined"
            for name, values in (("tail", tail), ("head", head))
            if values is None
        ]
        return f"Not shown to improve: {', and '.join(missing)}."
    if improved(evaluation):
        if head[1] > 0:
            return (
                f"Improved: tail users gain {with_interval(tail)}, and head users gain as well, {with_interval(head)}."
            )
        return (
            f"Improved: tail users gain {with_interval(tail)}, and a loss of head users of 1 % or more is ruled out, "
            f"{with_interval(head)}. A gain of head users is not shown."
        )
    if tail[1] > 0:
        of_tail = f"Tail users gain {with_interval(tail)}"
    elif tail[2] < 0:
        of_tail = f"Tail users lose {with_interval(tail)}"
    else:
        of_tail = f"A gain of tail users is not shown, {with_interval(tail)}"
    if head[1] > 0:
        of_head = f"head users gain {with_interval(head)}"
    elif head[2] < 0:
        of_head = f"head users lose {with_interval(head)}"
    elif head[1] > -_HEAD_MARGIN:
        of_head = f"a loss of head users of 1 % or more is ruled out, {with_interval(head)}"
    else:
        of_head = f"a loss of head users of 1 % or more is not ruled out, {with_interval(head)}"
    joint = "but" if tail[1] > 0 or head[1] > 0 else "and"
    return f"Not shown to improve: {of_tail[0].lower()}{of_tail[1:]}, {joint} {of_head}."


def aggregation_effect(evaluation: dict[str, Any], groups: Iterable[str] = GROUP_LABELS) -> str:
    """One sentence on what the aggregation of gradients adds under the same plugins, to these groups of users."""
    if "backbone" not in evaluation["models"]:
        return "No aggregation of gradients is configured (backbone_training.aggregation): the backbone is the base."
    words = {
        "gain": "a gain is shown",
        "loss": "a loss is shown",
        "none": "no difference can be shown",
        "undefined": "not measured",
    }
    parts = []
    for group in groups:
        values = gain(evaluation, "pin_vs_base_plugins", group)
        parts.append(f"{GROUP_LABELS[group].lower()} {with_interval(values)}, {words[_effect(values)]}")
    return f"The aggregation under the same plugins: {'; '.join(parts)}."


def base_gap(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on whether the base serves head or tail users better, by how much, and what PIN makes of it.

    The chance of such a gap is judged on HR@10, a share of the users, whose interval follows from the number of users:
    Newcombe's for a difference of proportions (Statistics in Medicine 17, 1998, method 10).
    """
    groups = evaluation["models"]["base"]
    if "tail" not in groups or "head" not in groups:
        return ["One of the two groups has no test users: the gap between head and tail cannot be measured."]
    tail, head = groups["tail"], groups["head"]
    more = "tail" if tail["ndcg_at_10"] > head["ndcg_at_10"] else "head"
    less = "head" if more == "tail" else "tail"
    sentences = []
    if tail["ndcg_at_10"] == head["ndcg_at_10"]:
        sentences.append(
            f"The base serves head and tail users alike: NDCG@10 is {number(tail['ndcg_at_10'])} for both."
        )
    else:
        surplus = _relative(groups[more]["ndcg_at_10"], groups[less]["ndcg_at_10"])
        sentences.append(
            f"The base serves {more} users better than {less} users: NDCG@10 is {number(tail['ndcg_at_10'])} for the "
            f"{count(tail['users'])} tail users and {number(head['ndcg_at_10'])} for the {count(head['users'])} "
            f"head users ({surplus} for {more} users)."
            + (" So the long tail is not the worse served here." if more == "tail" else "")
        )
    low, high = _difference(tail["hr_at_10"], tail["users"], head["hr_at_10"], head["users"])
    chance = low <= 0 <= high
    sentences.append(
        f"The item that a user took next is among the first ten shown for {share(tail['hr_at_10'], 1)} of tail users "
        f"and {share(head['hr_at_10'], 1)} of head users. The difference is "
        f"{_points(tail['hr_at_10'] - head['hr_at_10'])} percentage points, "
        f"95 % interval [{_points(low)}, {_points(high)}]"
        + (": a gap of this size can be chance." if chance else ": more than chance.")
    )
    pin_tail, pin_head = _metric(evaluation, "pin", "tail"), _metric(evaluation, "pin", "head")
    if pin_tail is not None and pin_head is not None:
        sentences.append(
            f"Tail users relative to head users: {_relative(tail['ndcg_at_10'], head['ndcg_at_10'])} NDCG@10 under the "
            f"base, {_relative(pin_tail, pin_head)} under PIN."
        )
    return sentences


def _metric(evaluation: dict[str, Any], model: str, group: str, metric: str = "ndcg_at_10") -> float | None:
    return evaluation["models"].get(model, {}).get(group, {}).get(metric)


def _effect(values: tuple[float, float, float] | None) -> str:
    if values is None:
        return "undefined"
    _, low, high = values
    return "gain" if low > 0 else "loss" if high < 0 else "none"


def _card(evaluation: dict[str, Any], group: str) -> dict[str, Any]:
    values = gain(evaluation, "pin_vs_base", group)
    words = {"gain": "gain", "loss": "lose", "none": "no difference shown", "undefined": "not measured"}
    return {
        "group": GROUP_LABELS[group],
        "effect": _effect(values),
        "word": words[_effect(values)],
        "gain": "–" if values is None else percent(values[0]),
        "interval": None if values is None else f"95 % interval {percent(values[1])} to {percent(values[2])}",
        "base": _metric(evaluation, "base", group),
        "pin": _metric(evaluation, "pin", group),
        "users": _metric(evaluation, "base", group, "users"),
    }


def _additions(evaluation: dict[str, Any], pair: str) -> list[tuple[str, str]]:
    values = [gain(evaluation, pair, group) for group in GROUP_LABELS]
    return [(with_interval(value), _effect(value)) for value in values]


def _tables(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    models = evaluation["models"]
    names = list(dict.fromkeys([*GROUP_LABELS, *sorted(g for groups in models.values() for g in groups)]))
    return [
        {
            "group": GROUP_LABELS.get(name, f"{name.upper()}: fifth of the users by activeness (Q1 = least active)"),
            "users": next((groups[name]["users"] for groups in models.values() if name in groups), 0),
            "quintile": name not in GROUP_LABELS,
            "rows": [
                {
                    "model": MODEL_LABELS.get(model, model),
                    "key": model,
                    "gain": "reference"
                    if model == "base"
                    else with_interval(gain(evaluation, f"{model}_vs_base", name)),
                    **groups[name],
                }
                for model, groups in models.items()
                if name in groups
            ],
        }
        for name in names
    ]


def _difference(p: float, n: int, q: float, m: int) -> tuple[float, float]:
    (a, b), (c, d) = _wilson(p, n), _wilson(q, m)
    return p - q - math.hypot(p - a, d - q), p - q + math.hypot(b - p, q - c)


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return centre - half, centre + half


def _relative(value: float, reference: float) -> str:
    return percent(value / reference - 1) if reference else "no comparable"


def _points(difference: float) -> str:
    return percent(difference)[:-2]
