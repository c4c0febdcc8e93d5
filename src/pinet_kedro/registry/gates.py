"""The gates of promotion. All are evaluated, passed or not; none is skipped because another one failed."""

import json
from collections.abc import Mapping
from datetime import datetime

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.datasets.manifests import Manifest
from pinet_kedro.evaluation.challenge import Challenge
from pinet_kedro.registry.decision import ROLLED_BACK_TAG, Gate
from pinet_kedro.registry.fresh_process import FreshProcessResult
from pinet_kedro.registry.promotion_config import Bound, Gates
from pinet_kedro.reporting.text import percent, share, with_interval
from pinet_kedro.validation.data_docs import data_docs_index

_ENDS = {"low": "low end of the 95 % interval", "mean": "gain", "high": "high end of the 95 % interval"}


def judge(
    config: Gates, challenge: Challenge | str, answer: FreshProcessResult, validation: Gate, tags: Mapping[str, str],
    strata: ReportingStrata,
) -> tuple[Gate, ...]:  # fmt: skip
    """Every gate; `challenge` is what went wrong where there could be none, `tags` are those of the version."""
    bounds = {"tail": config.tail, "head": config.head}
    bounds |= {f"q{q}": config.quintiles for q in range(1, len(strata.quintiles) + 1)}
    return (
        *(_gain(group, bound, challenge) for group, bound in bounds.items()),
        _coverage(config.coverage, challenge),
        validation,
        Gate(
            name="fresh process",
            passed=answer.fault is None,
            measured=answer.fault or f"loaded in {answer.load_s:.1f} s, answers the example",
            asked="loads and answers the signature's example",
        ),
        _latency(config.latency_ms, answer),
        Gate(
            name="history",
            passed=ROLLED_BACK_TAG not in tags,
            measured=f"rolled back on {tags[ROLLED_BACK_TAG]}" if ROLLED_BACK_TAG in tags else "clean",
            asked="not rolled back before",
        ),
    )


def read_validation(manifest: Manifest) -> Gate:
    """Whether the latest validation of every suite passed, and was that of the clean events behind these sequences."""
    asked = "all rules of the latest validation hold"
    reports = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(data_docs_index().parent.glob("*/result.json"))
    ]  # fmt: skip
    if not reports:
        return Gate(name="validation", passed=False, measured="no report: run data_validation", asked=asked)
    broken = [f"{report['suite']} failed, checked {report['checked']}" for report in reports if not report["success"]]
    clean = [report for report in reports if report["suite"] == "clean_events"]
    # Another log has another hash, and so has a newer one whose events are not indexed yet.
    events = manifest.contents().get("clean_events")
    if not broken and not any(report.get("content") == events for report in clean):
        broken = ["the reports are not of these events: run activeness_stratification after data_validation"]
    newest = max(datetime.fromisoformat(report["checked"].removesuffix(" UTC")) for report in reports)
    passed = f"{len(reports)} suites passed, {newest:%Y-%m-%d %H:%M} UTC"
    return Gate(name="validation", passed=not broken, measured="; ".join(broken) or passed, asked=asked)


def _gain(group: str, bound: Bound, challenge: Challenge | str) -> Gate:
    name = f"{group} gain" if group in ("tail", "head") else f"quintile {group[1:]}"
    asked = f"{_ENDS[bound.by]} above {percent(bound.above) if bound.above else 0}"
    if isinstance(challenge, str):
        return Gate(name=name, passed=False, measured=challenge, asked=asked, bound=bound.above)
    if group not in challenge.groups:  # where a loss must be shown to refuse, a group without users shows none
        return Gate(
            name=name, passed=bound.by == "high", measured="not measured: no users", asked=asked, bound=bound.above
        )
    found = challenge.groups[group]
    gain = found["gain"]
    if gain["relative"] is None:  # the reference never succeeds: there is nothing to divide by, nor to lose
        text = f"NDCG@10 0 → {found['challenger']:.4f}"
        passed = found["challenger"] > 0 or bound.above < 0
        return Gate(name=name, passed=passed, measured=text, asked=asked, bound=bound.above)
    value = gain["relative" if bound.by == "mean" else bound.by]
    measured = f"{with_interval((gain['relative'], gain['low'], gain['high']))}, {found['users']:,} users"
    return Gate(
        name=name, passed=value > bound.above, measured=measured, asked=asked, value=value, bound=bound.above
    )  # fmt: skip


def _coverage(least: float, challenge: Challenge | str) -> Gate:
    asked = f"at least {share(least, 1)} of the catalogue"
    if isinstance(challenge, str):
        return Gate(name="coverage", passed=False, measured=challenge, asked=asked, bound=least)
    found = challenge.coverage
    measured = f"{share(found, 1)}, the reference {share(challenge.reference_coverage, 1)}"
    return Gate(name="coverage", passed=found >= least, measured=measured, asked=asked, value=found, bound=least)


def _latency(most: float, answer: FreshProcessResult) -> Gate:
    asked = f"at most {most:g} ms"
    if answer.request_ms is None:
        return Gate(name="latency", passed=False, measured="not measured: it does not answer", asked=asked, bound=most)
    found = answer.request_ms
    return Gate(
        name="latency", passed=found <= most, measured=f"{found:.1f} ms", asked=asked, value=found, bound=most
    )  # fmt: skip
