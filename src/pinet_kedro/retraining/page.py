"""The page of a run of retraining: what came in, how far it is from what the champion knows, what was decided."""

from pathlib import Path
from typing import Any

from pinet_kedro.evaluation.drift import Drift
from pinet_kedro.reporting.page import render
from pinet_kedro.reporting.text import GROUP_LABELS, QUINTILE_LABELS, gain_of, share, with_interval
from pinet_kedro.retraining.steps import RetrainingSummary

# Where the shift of popularity is called one; it has no test.
_MORE_THAN_CHANCE = 1.5


def render_summary(done: RetrainingSummary) -> str:
    """A self-contained HTML page in the style of the report; it loads nothing from the network."""
    groups = [_group(name, values) for name, values in done.promotion.groups.items()]
    template = Path(__file__).with_name("retraining.html.j2")
    drift: dict[str, Any] = {
        "rows": drift_rows(done.drift),
        "shift": _shift(done.drift),
        "champion": _champion(done.drift),
    }
    return render(template, done=done, groups=groups, **drift)


def _shift(drift: Drift) -> str | None:
    """Whether other items are popular now, in words; None where it is not measured or chance has no part in it."""
    if (found := drift.popularity) is None or not found.by_chance:
        return None
    times = found.divergence / found.by_chance
    what = "are popular in much the same measure" if times < _MORE_THAN_CHANCE else "have become more or less popular"
    return f"Items {what}: what they share of the events has moved {times:.1f} times as far as chance alone moves it."


def drift_rows(drift: Drift) -> list[tuple[str, str, str]]:
    """What is measured, its value, and how to read it."""
    rows = []
    for kind, note in (("users", "of no training event"), ("items", "that the model cannot recommend")):
        value, events = getattr(drift, f"unknown_{kind}"), getattr(drift, f"unknown_{kind}_events")
        if value is not None:
            rows.append((f"Unknown {kind}", f"{share(value, 1)}, {share(events, 1)} of the events", note))
    if (popularity := drift.popularity) is not None:
        rows.append(
            (
                "Popularity shift",
                f"{popularity.divergence:.3f}",
                f"Jensen-Shannon divergence, 0 to 1; {popularity.by_chance:.3f} is what so many events show by chance",
            )
        )
        rank = popularity.rank_correlation
        rows.append(("Rank correlation", "–" if rank is None else f"{rank:.3f}", "Spearman's, of the items' events"))
    if (activeness := drift.activeness) is not None:
        rows.append(("Activeness", f"{activeness.distance:.3f}", "Kolmogorov-Smirnov distance, 0 to 1"))
        before, after = (
            ", ".join(f"{value:g}" for value in of) for of in zip(*activeness.quantiles.values(), strict=True)
        )
        of = "newest training events, as many as there are new ones → new events"
        rows.append((f"Events a user, quantiles {', '.join(activeness.quantiles)}", f"{before} → {after}", of))
        rows += [
            (f"Share of users: {name}", f"{share(before, 1)} → {share(after, 1)}", "trained on → asking now")
            for name, (before, after) in activeness.strata.items()
        ]
    return rows


def _champion(drift: Drift) -> list[dict[str, Any]]:
    return [
        {
            "label": GROUP_LABELS[name],
            "users": values["users"],
            "then": drift.then.get(name),
            "now": values["challenger"],
            "popularity": values["reference"],
            "gain": with_interval(gain_of(values["gain"])),
        }
        for name, values in drift.groups.items()
        if name in ("all", "head", "tail")
    ]


def _group(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "label": (GROUP_LABELS | QUINTILE_LABELS)[name], "text": with_interval(gain_of(values["gain"]))}
