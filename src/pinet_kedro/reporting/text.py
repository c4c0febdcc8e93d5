"""Numbers and names as text for pages, figures, gates and the console. Imports no plotly, which takes half a second."""

import math
from typing import Any

from pinet_kedro.printable import public
from pinet_kedro.reading.nanoseconds import CLOCK, in_nanoseconds, iso

MODEL_LABELS = {
    "base": "Base (joint training)",
    "backbone": "Aggregation alone",
    "plugins_alone": "Plugins without a backbone",
    "base_shared_plugin": "Base + one shared plugin",
    "base_plugins": "Base + plugins by stratum",
    "backbone_plugins": "Aggregation + plugins by stratum",
    "pin": "PIN (backbone + plugins by stratum)",
}
GROUP_LABELS = {"all": "All users", "tail": "Tail users", "head": "Head users"}
QUINTILE_LABELS = {f"q{q}": f"Quintile {q}" for q in range(1, 6)}
METRIC_LABELS = {
    **{f"{name.lower()}_at_{k}": f"{name}@{k}" for name in ("NDCG", "HR", "MRR") for k in (5, 10, 20)},
    "mrr": "MRR",
    "auc": "AUC",
    "popularity_at_10": "Training events of a recommended item",
    "novelty_at_10": "Rarity of a recommended item (+1: half as popular)",
    "long_tail_share_at_10": "Long-tail items among the recommended",
    "category_diversity_at_10": "Difference of categories within a list, 0 to 1",
    "coverage_at_10": "Part of the catalogue that is recommended",
    "gini_at_10": "Gini index of recommendations over items",
    "ndcg_at_10_popular_items": "NDCG@10, next item popular",
    "hr_at_10_popular_items": "HR@10, next item popular",
    "ndcg_at_10_long_tail_items": "NDCG@10, next item in the long tail",
    "hr_at_10_long_tail_items": "HR@10, next item in the long tail",
    "ndcg_at_10_cold_items": "NDCG@10, next item cold",
    "hr_at_10_cold_items": "HR@10, next item cold",
}
NONE = "–"


def gain(evaluation: dict[str, Any], pair: str, group: str) -> tuple[float, float, float] | None:
    """`(relative, low, high)` of one comparison in NDCG@10, or None where it is undefined or not computed."""
    return gain_of(evaluation["comparisons"].get(pair, {}).get(group, {}).get("ndcg_at_10", {}))


def gain_of(entry: dict[str, float | None], kind: str = "relative") -> tuple[float, float, float] | None:
    """`(relative, low, high)` of a gain from `intervals.relative_gain`, or None where it is undefined."""
    value, low, high = (math.nan if (value := entry.get(n)) is None else value for n in (kind, "low", "high"))
    return (value, low, high) if all(map(math.isfinite, (value, low, high))) else None


def difference(evaluation: dict[str, Any], pair: str, group: str, measure: str) -> tuple[float, float, float] | None:
    """`(difference, low, high)` of one measure beyond accuracy, or None where it has no interval."""
    return gain_of(evaluation["comparisons"].get(pair, {}).get(group, {}).get(measure, {}), "difference")


def in_units(values: tuple[float, ...], digits: int, scale: float = 1.0) -> str:
    """A difference, with its interval if it has one, in units of the measure, such as '+30.2 [+27.6, +33.0]'."""
    shown = [f"{value * scale:+.{digits}f}".replace("-", "−") for value in values]
    return f"{shown[0]} [{', '.join(shown[1:])}]" if len(shown) > 1 else shown[0]


def percent(value: float) -> str:
    """The share as a signed percentage with a true minus sign, such as '−1.5 %'."""
    return f"{value * 100:+.1f} %".replace("-", "−")


def share(value: float, digits: int = 0) -> str:
    """The share as a percentage, such as '20 %'."""
    return f"{value * 100:.{digits}f} %"


def with_interval(values: tuple[float, float, float] | None) -> str:
    """A gain and its 95 % interval, such as '+13.4 % [+11.0, +15.9]', or 'not measured'."""
    if values is None:
        return "not measured"
    relative, low, high = values
    return f"{percent(relative)} [{percent(low)[:-2]}, {percent(high)[:-2]}]"


def effect(values: tuple[float, float, float] | None) -> str:
    """'gain' or 'loss' where the interval excludes 0, 'none' where it does not, 'undefined' where there is none."""
    if values is None:
        return "undefined"
    _, low, high = values
    return "gain" if low > 0 else "loss" if high < 0 else "none"


def number(value: float | None) -> str:
    """A metric with four decimals, or a dash."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.4f}"


def count(value: int | None) -> str:
    """A count with thousands separators, or a dash."""
    return NONE if value is None else f"{value:,}"


def plural(number: int | None, noun: str) -> str:
    """The number of things, such as '1 user' and '1,234 users'; a dash instead of an unknown number."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def rank(value: float) -> str:
    """A rank; items with equal scores share the middle of their ranks, such as 2.5."""
    return f"{value:,.1f}".removesuffix(".0")


def day(time: int | None) -> str:
    """The date (UTC) of a time in nanoseconds (or in seconds, as earlier versions stored it), or a dash."""
    return NONE if time is None else iso(in_nanoseconds(time))[:10]


def event_day(time: int | None) -> str:
    """The day of an event of a log; its position if the log has no clock, or a dash."""
    return day(time) if time is None or time >= CLOCK else f"event {time:,}"


def period(data: dict[str, Any]) -> str:
    """The days of the first and of the last event of the data of an evaluation."""
    return f"{event_day(data.get('oldest_event'))} to {event_day(data.get('newest_event', {}).get('all'))}"


def shown(value: Any) -> str:
    """The value as text; an address loses its credentials."""
    if value is None:
        return NONE
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return public(text)


def model_label(model: str) -> str:
    """The name of a model on pages and in figures."""
    return MODEL_LABELS.get(model, model)
