"""The report page: what an evaluation shows and what it does not."""

from pathlib import Path
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.statements import (
    aggregation_effect,
    as_shipped,
    base_gap,
    chosen,
    contributions,
    disagreement,
    improved,
    metric,
    narrowing,
    one_for_all,
    popularity_effect,
    refit_effect,
    verdict,
)
from pinet_kedro.reporting.text import (
    GROUP_LABELS,
    METRIC_LABELS,
    NONE,
    count,
    effect,
    event_day,
    gain,
    in_units,
    model_label,
    percent,
    period,
    plural,
    share,
    with_interval,
)

_PAIRS = {
    "base_plugins_vs_base": "What the plugins add to the base",
    "base_plugins_vs_plugins_alone": "What the base adds to the plugins",
    "pin_vs_plugins_alone": "What the backbone adds to the plugins",
    "base_plugins_vs_base_shared_plugin": "Plugins by stratum instead of one for all, on the joint backbone",
    "pin_vs_base_shared_plugin": "Plugins by stratum instead of one for all",
    "backbone_vs_base": "Training by aggregation instead of jointly, without plugins",
    "pin_vs_base_plugins": "Training by aggregation instead of jointly, with plugins",
    "backbone_plugins_vs_pin": "Training by aggregation instead of jointly, with plugins",
    "pin_vs_base": "PIN against the base",
}
# Measures beyond accuracy, in the order of the page: decimals, and the factor that makes percent of a share.
_MEASURES = {
    "popularity_at_10": (1, 1),
    "novelty_at_10": (2, 1),
    "long_tail_share_at_10": (1, 100),
    "category_diversity_at_10": (3, 1),
    "coverage_at_10": (1, 100),
    "gini_at_10": (3, 1),
    "ndcg_at_10_popular_items": (4, 1),
    "ndcg_at_10_long_tail_items": (4, 1),
    "ndcg_at_10_cold_items": (4, 1),
    "hr_at_10_cold_items": (4, 1),
}
# Figures that the template places.
_PLACED = ("gains", "quintiles", "plugin_weights", "long_tail", "learning_curves", "stratum_weights")


def render_report(
    evaluation: dict[str, Any],
    figures: dict[str, Figure],
    cleaning: pd.DataFrame,
    configuration: dict[str, Any],
    run: dict[str, Any],
    examples: list[dict[str, Any]] | None = None,
) -> str:
    """A self-contained HTML page of at most 2 MB: the script is inlined, nothing is loaded from the network.

    `figures` are named as in the catalog (`long_tail_figure` or `long_tail`, …). Missing ones are left out; those that
    the page does not know come at its end. `examples` are those of `inspection.examples`.
    """
    dropped = int(cleaning["rows"].sum())
    events = evaluation["data"].get("events")
    return render(
        Path(__file__).with_name("report.html.j2"),
        title=f"Long-tail recommendation on {evaluation['data'].get('name') or 'these data'}",
        figures={name.removesuffix("_figure"): figure for name, figure in figures.items() if figure.data},
        placed=_PLACED,
        gap=base_gap(evaluation),
        verdict=verdict(evaluation).partition(":"),
        narrowing=narrowing(evaluation),
        one_for_all=one_for_all(evaluation),
        improved=improved(evaluation),
        disagreement=disagreement(evaluation),
        cards=[_card(evaluation, group) for group in ("tail", "head", "all")],
        additions=[
            (t, _additions(evaluation, pair)) for pair, t in _PAIRS.items() if pair in evaluation["comparisons"]
        ],
        sources=[*contributions(evaluation), *filter(None, [aggregation_effect(evaluation), chosen(evaluation)])],
        shipped=as_shipped(evaluation),
        as_shipped=_as_shipped(evaluation),
        beyond=_beyond(evaluation),
        examples=examples,
        groups=GROUP_LABELS,
        cut_offs=[f"{name}_at_{k}" for name in ("ndcg", "hr", "mrr") for k in (5, 10, 20)],
        labels=METRIC_LABELS,
        tables=_tables(evaluation),
        cleaning=cleaning.to_dict("records"),
        dropped=dropped,
        dropped_share=share(dropped / (events + dropped), 1) if events else None,
        protocol=evaluation["protocol"],
        data=_in_words(evaluation["data"]),
        versions=evaluation["versions"],
        configuration=configuration,
        facts={name: value for name, value in _facts(evaluation, configuration, run).items() if value},
    )


def _facts(evaluation: dict[str, Any], configuration: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Which run on which data the page is about, for its head."""
    data, training = evaluation["data"], configuration.get("backbone_training", {})
    sizes = [f"{count(data[name])} {name}" for name in ("users", "items", "events") if name in data]
    if more := data.get("items_without_events"):
        sizes[1] += f" ({count(more)} of them without events)"
    return {
        "date": run.get("date"),
        "data": ", ".join([f"{data['name']} ({data['sha256'][:8]})", *sizes]) if "sha256" in data else None,
        "period": period(data) if "oldest_event" in data else None,
        "backbone": training.get("backbone", {}).get("name"),
        "seed": evaluation["protocol"].get("seed"),
        **run,
    }


def _in_words(data: dict[str, Any]) -> dict[str, Any]:
    """The facts on the data: times as days, shares as percentages, counts with thousands separators."""
    words = {name: _fact(name, value) for name, value in data.items()}
    if "oldest_event" in data:
        words["oldest_event"] = event_day(data["oldest_event"])
    if "newest_event" in data:
        words["newest_event"] = {part: event_day(time) for part, time in data["newest_event"].items()}
    return words


def _fact(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _fact(inner, found) for inner, found in value.items()}
    if name.startswith("share_of_"):
        return share(value, 2)
    return count(value) if isinstance(value, int) else value


def _as_shipped(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    if (reading := evaluation.get("as_shipped")) is None:
        return None
    rows = [
        {
            "group": label,
            "base": metric(reading, "base", group),
            "pin": metric(reading, "pin", group),
            "gains": [
                (with_interval(values), effect(values))
                for pair in ("pin_vs_base", "refit_pin_vs_pin", "refit_base_vs_base")
                for values in [gain(reading, pair, group)]
            ],
        }
        for group, label in GROUP_LABELS.items()
    ]
    return {"rows": rows, "refit": refit_effect(evaluation)}


def _beyond(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Measures of base, backbone and PIN by group; None in evaluations of earlier versions."""
    if not (sentences := popularity_effect(evaluation)):
        return None
    models = [name for name in ("base", "backbone", "pin") if name in evaluation["models"]]
    groups = [
        {"label": label, "rows": [_beyond_row(evaluation, models, group, name) for name in _MEASURES if name in found]}
        for group, label in GROUP_LABELS.items()
        if (found := evaluation["models"]["base"].get(group))
    ]
    items = {name: evaluation["data"].get(f"{name}_items") for name in ("long_tail", "cold")}
    return {"sentences": sentences, "models": models, "groups": groups, **items}


def _beyond_row(evaluation: dict[str, Any], models: list[str], group: str, measure: str) -> dict[str, Any]:
    digits, scale = _MEASURES[measure]
    values = [metric(evaluation, model, group, measure) for model in models]
    found = evaluation["comparisons"]["pin_vs_base"][group][measure]
    ends = [found[name] for name in ("difference", "low", "high") if found[name] is not None]
    unit = ", %" if scale == 100 else ""
    if measure.endswith("_cold_items"):  # often so few that their number must stand beside the value
        unit = f" ({plural(evaluation['models']['base'][group]['targets_cold_items'], 'user')})"
    return {
        "measure": METRIC_LABELS[measure] + unit,
        "values": [NONE if value is None else f"{value * scale:.{digits}f}" for value in values],
        "difference": in_units(tuple(ends), digits, scale) if ends else NONE,
    }


def _card(evaluation: dict[str, Any], group: str) -> dict[str, Any]:
    values = gain(evaluation, "pin_vs_base", group)
    words = {"gain": "gain", "loss": "lose", "none": "no difference shown", "undefined": "not measured"}
    return {
        "group": GROUP_LABELS[group],
        "effect": effect(values),
        "word": words[effect(values)],
        "gain": "–" if values is None else percent(values[0]),
        "interval": None if values is None else f"95 % interval {percent(values[1])} to {percent(values[2])}",
        "base": metric(evaluation, "base", group),
        "pin": metric(evaluation, "pin", group),
        "users": metric(evaluation, "base", group, "users"),
    }


def _additions(evaluation: dict[str, Any], pair: str) -> list[tuple[str, str]]:
    values = [gain(evaluation, pair, group) for group in GROUP_LABELS]
    return [(with_interval(value), effect(value)) for value in values]


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
                    "model": model_label(model),
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
