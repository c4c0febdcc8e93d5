"""The gates of promotion. All are evaluated; none is skipped because another one failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pinet_kedro.activeness import ReportingStrata
from pinet_kedro.datasets.manifests import Manifest
from pinet_kedro.evaluation.challenge import Challenge, measured, too_few
from pinet_kedro.promotion.config import Bound, Gates
from pinet_kedro.promotion.decision import ROLLED_BACK_TAG, Gate, not_measured
from pinet_kedro.promotion.fresh_process import FreshProcessResult
from pinet_kedro.reporting.text import percent, share, with_interval

_ENDS = {"low": "low end of the 95 % interval", "mean": "gain", "high": "high end of the 95 % interval"}


@dataclass(frozen=True)
class GateInputs:
    """What a gate may use: `challenge` is a sentence if there was no comparison, `tags` are those of the version.

    `champion` has the tags of the champion, None if there is none. `learnt`: whether the version may have learnt the
    targets, in words; None if it has not. `shared_users`: the share of the champion's users that the version knows;
    None if one of the two has no record of its users.
    """

    config: Gates
    challenge: Challenge | str
    fresh_process: FreshProcessResult
    validation: Gate
    tags: Mapping[str, str]
    strata: ReportingStrata
    champion: Mapping[str, str] | None = None
    learnt: str | None = None
    shared_users: float | None = None


def judge(inputs: GateInputs) -> tuple[Gate, ...]:
    """All gates, passed or failed."""
    return tuple(gate for check in GATES for gate in check(inputs))


def judge_validation(manifest: Manifest, reports: Sequence[Mapping[str, Any]]) -> Gate:
    """The gate `validation`: the latest validation of each suite passed, on the clean events of this manifest.

    `reports` are the latest results of the suites (`validation.data_docs.ValidationResultsDataset`).
    """
    asked = "all rules of the latest validation hold"
    if not reports:
        return Gate(name="validation", passed=False, measured="no report: run data_validation", asked=asked)
    broken = [f"{report['suite']} failed, checked {report['checked']}" for report in reports if not report["success"]]
    clean = [report for report in reports if report["suite"] == "clean_events"]
    # Another log has another hash; so has a newer log whose events are not indexed yet.
    events = next((sha for name, sha in manifest.contents().items() if name.endswith("clean_events")), None)
    if not broken and (events is None or not any(report.get("content") == events for report in clean)):
        broken = ["the reports are not of these events: run activeness_stratification after data_validation"]
    newest = max(datetime.fromisoformat(report["checked"].removesuffix(" UTC")) for report in reports)
    passed = f"{len(reports)} suites passed, {newest:%Y-%m-%d %H:%M} UTC"
    return Gate(name="validation", passed=not broken, measured="; ".join(broken) or passed, asked=asked)


def gains(inputs: GateInputs) -> tuple[Gate, ...]:
    """The gains over the champion of tail users, head users and each quintile; over popularity of all users as well."""
    bounds = {"tail": inputs.config.tail, "head": inputs.config.head}
    if inputs.champion is None:  # popularity is a low bar: a first version must pass it beyond doubt
        raised = {group: bound.model_copy(update={"above": max(bound.above, 0.0)}) for group, bound in bounds.items()}
        bounds = {"all": raised["tail"].model_copy(update={"by": "low"}), **raised}
    bounds |= {f"q{q}": inputs.config.quintiles for q in range(1, len(inputs.strata.quintiles) + 1)}
    return tuple(_gain(group, bound, inputs.challenge) for group, bound in bounds.items())


def measured_groups(challenge: Challenge, config: Gates) -> dict[str, dict[str, Any]]:
    """The groups of the comparison; those that no gate would measure have no interval."""
    bounds = dict.fromkeys(challenge.groups, config.quintiles)
    bounds |= {"all": config.tail, "tail": config.tail, "head": config.head}
    return measured(challenge.groups, {name: bound.users for name, bound in bounds.items()})


def _gain(group: str, bound: Bound, challenge: Challenge | str) -> Gate:
    name = f"quintile {group[1:]}" if group.startswith("q") else f"{group} gain"
    asked = f"{_ENDS[bound.by]} above {percent(bound.above) if bound.above else 0}"
    if isinstance(challenge, str):
        return not_measured(name, challenge, asked, bound.above)
    found = challenge.groups.get(group, {"users": 0})
    if few := too_few(found, bound.users):
        return not_measured(name, few, asked, bound.above)
    gain = found["gain"]
    if gain["relative"] is None:  # the reference is 0, so there is no relative gain, and nothing to lose
        text = f"NDCG@10 0 → {found['challenger']:.4f}"
        passed = found["challenger"] > 0 or bound.above < 0
        return Gate(name=name, passed=passed, measured=text, asked=asked, bound=bound.above)
    value = gain["relative" if bound.by == "mean" else bound.by]
    text = f"{with_interval((gain['relative'], gain['low'], gain['high']))}, {found['users']:,} users"
    return Gate(name=name, passed=value > bound.above, measured=text, asked=asked, value=value, bound=bound.above)


def coverage(inputs: GateInputs) -> tuple[Gate, ...]:
    """The share of the catalogue that is in any user's first ten."""
    least, found = inputs.config.coverage, inputs.challenge
    measured = found if isinstance(found, str) else (
        found.coverage, f"{share(found.coverage, 1)}, the reference {share(found.reference_coverage, 1)}"
    )  # fmt: skip
    return (_at_least("coverage", measured, least, f"{share(least, 1)} of the catalogue"),)


def catalogue(inputs: GateInputs) -> tuple[Gate, ...]:
    """The share of the champion's catalogue that the challenger knows: low for a model of another shop."""
    found = inputs.challenge
    return _shared(inputs, "catalogue", "items", found if isinstance(found, str) else found.shared_items)


def users(inputs: GateInputs) -> tuple[Gate, ...]:
    """The share of the champion's users that the challenger knows: low for a model of a part of the log."""
    value = inputs.shared_users
    return _shared(inputs, "users", "users", "a version without a record of its users" if value is None else value)


def _shared(inputs: GateInputs, name: str, what: str, found: float | str) -> tuple[Gate, ...]:
    """A gate on the share of the champion's items or users that is known; none if there is no champion."""
    if inputs.champion is None:
        return ()
    least: float = getattr(inputs.config, f"shared_{what}")
    of = f"of the champion's {what}"
    measured = found if isinstance(found, str) else (found, f"knows {share(found, 1)} {of}")
    return (_at_least(name, measured, least, f"{share(least)} {of}"),)


def _at_least(name: str, found: tuple[float, str] | str, least: float, what: str) -> Gate:
    """A gate on a share: `found` is its value and what was measured in words, or why nothing was."""
    asked = f"at least {what}"
    if isinstance(found, str):
        return not_measured(name, found, asked, least)
    value, measured = found
    return Gate(name=name, passed=value >= least, measured=measured, asked=asked, value=value, bound=least)


def targets(inputs: GateInputs) -> tuple[Gate, ...]:
    """Whether the model that is compared has not learnt the targets."""
    measured = inputs.learnt or "the model that is compared has not learnt the targets"
    asked = "targets that it has not learnt"
    return (Gate(name="targets", passed=inputs.learnt is None, measured=measured, asked=asked),)


def data(inputs: GateInputs) -> tuple[Gate, ...]:
    """The data behind the version: not much less than behind the champion."""
    if inputs.champion is None:
        return ()
    least, asked = inputs.config.data, f"at least {share(inputs.config.data)} of those behind the champion"
    counts = [
        (what, int(inputs.tags.get(f"data.{what}", 0)), int(inputs.champion.get(f"data.{what}", 0)))
        for what in ("users", "items", "events")
    ]
    if any(theirs == 0 for _, _, theirs in counts):
        return (not_measured("data", "the champion was registered without these numbers", asked, least),)
    value = min(mine / theirs for _, mine, theirs in counts)
    shares = ", ".join(f"{what} {mine:,} ({share(mine / theirs)})" for what, mine, theirs in counts)
    return (Gate(name="data", passed=value >= least, measured=shares, asked=asked, value=value, bound=least),)


def validation(inputs: GateInputs) -> tuple[Gate, ...]:
    """The validation of the data (`judge_validation`)."""
    return (inputs.validation,)


def fresh_process(inputs: GateInputs) -> tuple[Gate, ...]:
    """Whether the version loads in a fresh process, and answers there as it is judged."""
    result = inputs.fresh_process
    measured = result.fault or f"loaded in {result.load_s:.1f} s, answers as it is judged"
    asked = "loads, and answers with its own code as it is judged"
    return (Gate(name="fresh process", passed=result.fault is None, measured=measured, asked=asked),)


def latency(inputs: GateInputs) -> tuple[Gate, ...]:
    """The median time of a single request."""
    most, found = inputs.config.latency_ms, inputs.fresh_process.request_ms
    asked = f"at most {most:g} ms"
    if found is None:
        return (not_measured("latency", "it does not answer", asked, most),)
    measured = f"{found:.1f} ms"
    return (Gate(name="latency", passed=found <= most, measured=measured, asked=asked, value=found, bound=most),)


def history(inputs: GateInputs) -> tuple[Gate, ...]:
    """Whether the version has been rolled back before."""
    rolled_back = inputs.tags.get(ROLLED_BACK_TAG)
    measured = f"rolled back on {rolled_back}" if rolled_back else "clean"
    return (Gate(name="history", passed=rolled_back is None, measured=measured, asked="not rolled back before"),)


# In the order in which they are shown. A new gate is a function, in a file of its own, and a line here.
GATES: list[Callable[[GateInputs], tuple[Gate, ...]]] = [
    gains,
    coverage,
    catalogue,
    users,
    targets,
    data,
    validation,
    fresh_process,
    latency,
    history,
]
