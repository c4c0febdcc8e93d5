"""Sentences on what an evaluation shows and does not show, for the report page and the console."""

import math
from collections.abc import Iterable
from typing import Any

from pinet_kedro.evaluation.intervals import difference_of_shares
from pinet_kedro.reporting.text import (
    GROUP_LABELS,
    count,
    difference,
    effect,
    gain,
    gain_of,
    in_units,
    number,
    percent,
    share,
    with_interval,
)

SHIP, DO_NOT_SHIP = "Ship PIN", "Do not ship PIN"
# PIN ships where the interval of tail users is above 0 and that of head users above −1 %.
_MARGIN = 0.01
# What a part adds to PIN, by the model without it. 'equal': a gain is not shown, and one of 1 % or more is ruled out.
_PARTS = {
    "plugins_alone": {
        "gain": "The trained backbone adds to the plugins",
        "none": "Plugins without a trained backbone are not shown to be worse here: the backbone adds",
        "equal": "Plugins without a trained backbone are as good here: the backbone adds",
        "loss": "Plugins without a trained backbone are better here: the backbone adds",
    },
    "base_shared_plugin": {
        "gain": "Plugins by stratum add to one plugin for all users",
        "none": "One plugin for all users is not shown to be worse here: plugins by stratum add",
        "equal": "One plugin for all users is as good here: plugins by stratum add",
        "loss": "One plugin for all users is better here: plugins by stratum add",
    },
}
_Z = 1.959964


def summary_lines(evaluation: dict[str, Any]) -> list[str]:
    """Lines for the console: the base by group, PIN against the base with intervals, and the verdict."""
    base = [f"{g} {number(metric(evaluation, 'base', g))}" for g in ("head", "tail")]
    gains = [
        f"PIN, {group} users: NDCG@10 {number(metric(evaluation, 'base', group))} → "
        f"{number(metric(evaluation, 'pin', group))}, {with_interval(gain(evaluation, 'pin_vs_base', group))}"
        for group in ("tail", "head")
    ]
    effect = [aggregation_effect(evaluation, ["all"])] if "backbone" in evaluation["models"] else []
    lines = [
        f"Base: test NDCG@10 {', '.join(base)}; below, 95 % intervals are in brackets",
        *gains,
        " ".join([verdict(evaluation), *narrowing(evaluation)]),
        *effect,
        chosen(evaluation),
    ]
    lines += [one_for_all(evaluation), as_shipped(evaluation), disagreement(evaluation)]
    return [line for line in lines if line]


def improved(evaluation: dict[str, Any]) -> bool:
    """Whether PIN improves on the base: the tail's interval is above 0 and the head's above −1 %."""
    tail, head = (gain(evaluation, "pin_vs_base", group) for group in ("tail", "head"))
    return tail is not None and head is not None and tail[1] > 0 and head[1] > -_MARGIN


def verdict(evaluation: dict[str, Any]) -> str:
    """Whether to ship PIN, and why: who gains and loses against the base, and what is not shown."""
    tail, head = (gain(evaluation, "pin_vs_base", group) for group in ("tail", "head"))
    if tail is None or head is None:
        missing = [_unknown(evaluation, name) for name, values in (("tail", tail), ("head", head)) if values is None]
        return f"{DO_NOT_SHIP}: {', and '.join(missing)}."
    if improved(evaluation):
        if head[1] > 0:
            return f"{SHIP}: tail users gain {with_interval(tail)}, and head users gain as well, {with_interval(head)}."
        return (
            f"{SHIP}: tail users gain {with_interval(tail)}, and a loss of head users of 1 % or more is ruled out, "
            f"{with_interval(head)}. A gain of head users is not shown."
        )
    if tail[1] > 0:
        of_tail = f"tail users gain {with_interval(tail)}"
    elif tail[2] < 0:
        of_tail = f"tail users lose {with_interval(tail)}"
    else:
        of_tail = f"a gain of tail users is not shown, {with_interval(tail)}"
    if head[1] > 0:
        of_head = f"head users gain {with_interval(head)}"
    elif head[2] < 0:
        of_head = f"head users lose {with_interval(head)}"
    elif head[1] > -_MARGIN:
        of_head = f"a loss of head users of 1 % or more is ruled out, {with_interval(head)}"
    else:
        of_head = f"a loss of head users of 1 % or more is not ruled out, {with_interval(head)}"
    joint = "but" if tail[1] > 0 or head[1] > 0 else "and"
    return f"{DO_NOT_SHIP}: {of_tail}, {joint} {of_head}."


def _unknown(evaluation: dict[str, Any], group: str) -> str:
    """Why the gain of a group over the base has no interval."""
    if metric(evaluation, "base", group) is None:
        return f"no {group} user has a test target"
    if evaluation["comparisons"]["pin_vs_base"][group]["ndcg_at_10"]["relative"] is None:
        return f"the base has no hit among {group} users, so their gain is undefined"
    return f"too few {group} users have a hit for an interval of their gain"


def narrowing(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on what PIN's lists lose in variety against the base, as far as intervals show it; all users."""
    tail, mixed = (
        difference(evaluation, "pin_vs_base", "all", name)
        for name in ("long_tail_share_at_10", "category_diversity_at_10")
    )
    sentences = []
    if tail and effect(tail) == "loss":
        base, pin = (evaluation["models"][model]["all"]["long_tail_share_at_10"] for model in ("base", "pin"))
        sentences.append(
            f"At a price: PIN shows fewer long-tail items, {share(pin, 1)} of its lists instead of {share(base, 1)} "
            f"({in_units(tail, 1, 100)} percentage points)."
        )
    if mixed and effect(mixed) == "loss":
        base, pin = (evaluation["models"][model]["all"]["category_diversity_at_10"] for model in ("base", "pin"))
        sentences.append(
            f"{'Its' if sentences else 'At a price: PIN’s'} lists mix fewer categories: two of their items differ in "
            f"{share(pin, 1)} of their categories instead of {share(base, 1)} ({in_units(mixed, 1, 100)} percentage "
            "points)."
        )
    return sentences


def one_for_all(evaluation: dict[str, Any]) -> str | None:
    """One sentence where all strata have taken the shared plugin, so that PIN is one plugin for all; else None."""
    if set(evaluation.get("plugins", ())) != {"shared"}:
        return None
    choice = evaluation.get("backbone_choice", {"backbone": "joint"})
    of = {"joint": "the base", "deconfounded": "the backbone trained by aggregation"}[choice["backbone"]]
    return f"PIN is here {of} with one plugin for all users: no stratum has a plugin of its own that is better."


def disagreement(evaluation: dict[str, Any]) -> str | None:
    """What the reading as shipped says where the same rule leads to the other verdict there; None if it does not."""
    reading = evaluation.get("as_shipped")
    if reading is None or improved(reading) == improved(evaluation):
        return None
    other, _, reason = verdict(reading).partition(": ")
    return f"After the final training, the same rule says “{other}”: {reason}"


def aggregation_effect(evaluation: dict[str, Any], groups: Iterable[str] = GROUP_LABELS) -> str:
    """One sentence on what gradient aggregation changes, both models having plugins, for these groups of users."""
    if "backbone" not in evaluation["models"]:
        return "No aggregation of gradients is configured (backbone_training.aggregation): PIN stands on the base."
    words = {
        "gain": "a gain is shown",
        "loss": "a loss is shown",
        "none": "no difference can be shown",
    }
    pair = "pin_vs_base_plugins" if "base_plugins" in evaluation["models"] else "backbone_plugins_vs_pin"
    parts = []
    for group in groups:
        values = gain(evaluation, pair, group)
        shown = "" if values is None else f", {words[effect(values)]}"
        parts.append(f"{GROUP_LABELS[group].lower()} {with_interval(values)}{shown}")
    return f"Training by aggregation instead of jointly, both with plugins, changes NDCG@10: {'; '.join(parts)}."


def contributions(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on what the trained backbone and the plugins by stratum add, for all users; none if not measured."""
    plugged, where = "pin", ""
    if "base_plugins" in evaluation["models"]:  # PIN stands on the other backbone, and the models without a part do not
        plugged, where = "base_plugins", ", on the joint backbone"
    found = [(words, gain(evaluation, f"{plugged}_vs_{without}", "all")) for without, words in _PARTS.items()]
    return [f"{words[_added(values)]} {with_interval(values)}{where}." for words, values in found if values]


def _added(values: tuple[float, float, float]) -> str:
    return "equal" if effect(values) == "none" and values[2] < _MARGIN else effect(values)


def chosen(evaluation: dict[str, Any]) -> str | None:
    """One sentence on the backbone that PIN stands on, and why; None if there was no choice."""
    choice = evaluation.get("backbone_choice", {"reason": "no_aggregation"})
    if choice["reason"] == "no_aggregation":
        return None
    name = {"deconfounded": "the backbone trained by aggregation", "joint": "the joint backbone"}[choice["backbone"]]
    if choice["reason"] == "configured":
        return f"PIN stands on {name}, as registration.backbone says."
    if choice["reason"] == "not_measured":
        return f"PIN stands on {name}; validation targets are too few to compare it with the joint one."
    gains = {group: gain_of(values) for group, values in choice["gains"].items()}
    if choice["reason"] == "worse":
        lost = {group: values for group, values in gains.items() if effect(values) == "loss"}
        worse = [f"{GROUP_LABELS[group].lower()} {with_interval(values)}" for group, values in lost.items()]
        return f"PIN stands on {name}: on validation targets the aggregation is worse for {' and '.join(worse)}."
    of_all = f"NDCG@10 {with_interval(gains['all'])}"
    return f"PIN stands on {name}: on validation targets it is not shown to be worse ({of_all})."


def as_shipped(evaluation: dict[str, Any]) -> str | None:
    """One sentence on base and PIN after a refit on all events before the test part; None without a refit."""
    if (reading := evaluation.get("as_shipped")) is None:
        return None
    parts = [
        f"{GROUP_LABELS[group].lower()} {number(metric(reading, 'base', group))} → "
        f"{number(metric(reading, 'pin', group))}, {with_interval(gain(reading, 'pin_vs_base', group))}"
        for group in ("tail", "head")
    ]
    return (
        "After the final training, in which base and PIN have learnt all events before the test part, NDCG@10: "
        f"{'; '.join(parts)}."
    )


def refit_effect(evaluation: dict[str, Any]) -> str | None:
    """One sentence on what the refit adds; None without one."""
    if (reading := evaluation.get("as_shipped")) is None:
        return None
    pin, base = (gain(reading, pair, "all") for pair in ("refit_pin_vs_pin", "refit_base_vs_base"))
    return f"The final training adds {with_interval(pin)} to PIN, and {with_interval(base)} to the base (all users)."


def popularity_effect(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on how popular the items are that PIN and the base recommend, and on long-tail targets; all users."""
    if (found := difference(evaluation, "pin_vs_base", "all", "popularity_at_10")) is None:
        return []
    base, pin = (evaluation["models"][model]["all"] for model in ("base", "pin"))
    shown = {
        "gain": "PIN recommends more popular items than the base",
        "loss": "PIN recommends less popular items than the base",
        "none": "PIN and the base are not shown to recommend items of different popularity",
    }
    sentences = [
        f"{shown[effect(found)]}: an item in PIN's first ten has {pin['popularity_at_10']:.1f} training events on "
        f"average, against {base['popularity_at_10']:.1f} ({in_units(found, 1)}), and "
        f"{share(pin['long_tail_share_at_10'], 1)} of them are long-tail items, against "
        f"{share(base['long_tail_share_at_10'], 1)}. It shows {share(pin['coverage_at_10'])} of the catalogue to at "
        f"least one user, the base {share(base['coverage_at_10'])}."
    ]
    kinds = {"long_tail": "a long-tail one,", "cold": "a cold one, with fewer than five training events,"}
    words = {"gain": "is better", "loss": "is worse", "none": "is not shown to differ"}
    for kind, named in kinds.items():
        if found := difference(evaluation, "pin_vs_base", "all", measure := f"ndcg_at_10_{kind}_items"):
            sentences.append(
                f"For users whose next item is {named} PIN {words[effect(found)]}: NDCG@10 {number(pin[measure])}, "
                f"against {number(base[measure])} ({in_units(found, 4)})."
            )
    return sentences


def base_gap(evaluation: dict[str, Any]) -> list[str]:
    """Sentences on whether the base serves head or tail users better, by how much, and what the gap is under PIN.

    Whether the gap can be chance is judged on HR@10. It is a proportion of users, so Newcombe's interval for a
    difference of proportions applies (Statistics in Medicine 17, 1998, method 10).
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
            + (" So the long tail is not the worse served group here." if more == "tail" else "")
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
    pin_tail, pin_head = metric(evaluation, "pin", "tail"), metric(evaluation, "pin", "head")
    if pin_tail is not None and pin_head is not None:
        sentences.append(
            f"Tail users relative to head users: {_relative(tail['ndcg_at_10'], head['ndcg_at_10'])} NDCG@10 under the "
            f"base, {_relative(pin_tail, pin_head)} under PIN."
        )
    return sentences


def metric(evaluation: dict[str, Any], model: str, group: str, metric: str = "ndcg_at_10") -> float | None:
    return evaluation["models"].get(model, {}).get(group, {}).get(metric)


def _difference(p: float, n: int, q: float, m: int) -> tuple[float, float]:
    return difference_of_shares((p, *_wilson(p, n)), (q, *_wilson(q, m)))[1:]


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return centre - half, centre + half


def _relative(value: float, reference: float) -> str:
    return percent(value / reference - 1) if reference else "no comparable"


def _points(difference: float) -> str:
    return percent(difference)[:-2]
