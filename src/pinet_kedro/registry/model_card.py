"""The model card of a version, in Markdown: what it is, its data, quality, training, use and limits.

All figures come from the evaluation and the manifest of the stored model. The card is the version's description and
the artifact `model_card.md` of its run; the description also lists the decisions on the version (`with_decision`).
"""

from typing import Any

from pinet_kedro.checking import as_yaml
from pinet_kedro.reporting.statements import chosen, disagreement, metric, narrowing, one_for_all, verdict
from pinet_kedro.reporting.text import GROUP_LABELS, NONE, count, event_day, gain, number, period, with_interval

MODEL_CARD = "model_card.md"
LONGEST = 5000  # characters of a description in MLflow's database
_LISTED = 25  # decisions in a description
_DECISIONS = "## Decisions\n"
_PENDING = "None yet: the version waits for `kedro run --pipeline=promotion`.\n"

# Description of the registered model.
ABOUT_ALL = """\
Recommends the next items after a user's history, for users with short and with long histories (pinet-kedro). A \
history is a list of item ids, texts or whole numbers, the oldest first.

- `champion`: the version that is served. `previous`: the champion before it. `challenger`: the newest version, to be \
compared with the champion by `kedro run --pipeline=promotion`.
- Each version has a model card as its description, and its decisions in `decisions/` of its run.
- `kedro models` compares all versions.
"""


def model_card(evaluation: dict[str, Any], manifest: dict[str, Any], exclude_seen: bool) -> str:
    """The card of a version before any decision; its first line stands for it in lists.

    `manifest` is that of the stored model, as JSON; what it or the evaluation lacks is a dash.
    """
    data, training = evaluation["data"], manifest.get("configuration", {}).get("backbone_training", {})
    backbone, code = training.get("backbone", {}).get("name", NONE), manifest.get("code", {})
    protocol = evaluation.get("protocol", {})
    shipped = evaluation.get("as_shipped")
    newest = data["newest_event"]
    judged = "Promotion judges a second model of the version, which has learnt the events before the test part"
    seen = "Items of the history are never recommended" if exclude_seen else "Items of the history may be recommended"
    name, until = data.get("name", NONE), event_day(newest["all"] if shipped else newest["training"])
    return f"""\
{backbone}, seed {training.get("seed", NONE)}, {name} until {until}: recommends the next items after a user's history.

Takes histories (item ids, oldest first) and ranks the catalogue: a sequence encoder, {backbone}, and for each stratum \
of user activeness a plugin network that combines it with frozen scorers (PIN).

## Quality

NDCG@10 of the next item of {count(data.get("test_targets"))} users in the whole catalogue, with 95 % intervals. The \
base is the same encoder with the same budget, without plugins.

{_table(evaluation)}

{" ".join(filter(None, [verdict(evaluation), *narrowing(evaluation), one_for_all(evaluation)]))}
{_shipped(evaluation)}
## Data

- {name}, sha256 `{data["sha256"][:12]}`, {period(data)}
- {count(data["users"])} users, {count(data["items"])} items, {count(data["events"])} events after cleaning
- Head users: {protocol.get("head", NONE)} in the training part; tail users: all others

## Training

- Aggregation of gradients: {_aggregation(training)}. {chosen(evaluation) or "PIN stands on the joint backbone."}
- The model that is served has learnt events until {until}. \
{f"{judged}, until {event_day(newest['before_test'])}." if shipped else "Promotion judges the same model."}
- Code: pinet-kedro {code.get("version", NONE)}, git {code.get("git", NONE)[:50]}, source {code.get("source", NONE)}; \
environment {manifest.get("environment") or NONE}

## Use and limits

- For ranking the items of this catalogue after a known history. {seen}.
- Users without a history get popular and recent items.
{_without_events(data)}\
- Items that are newer than the log are not recommended before the next training, and are skipped in histories.
- Popularity is one of its scorers, and logged events favour what was shown before: rare items are recommended less.
- Measured offline, on logged events. No experiment with users has been made.

{_DECISIONS}
{_PENDING}"""


def with_decision(description: str | None, line: str) -> str:
    """The description of a version with one more decision, newest last, unless that one is listed.

    If it becomes too long for MLflow, the card gives way: it is in the version's run, too.
    """
    card, _, listed = (description or "").partition(_DECISIONS)
    decisions = [line for line in listed.splitlines() if line.startswith("- ")]
    decisions += [] if f"- {line}" in decisions else [f"- {line}"]
    section = "\n".join([_DECISIONS, *decisions[-_LISTED:], ""])
    return f"{card[: LONGEST - len(section)]}{section}"


def _table(reading: dict[str, Any]) -> str:
    rows = [
        (
            label,
            *(number(metric(reading, model, of)) for model in ("base", "pin")),
            with_interval(gain(reading, "pin_vs_base", of)),
        )
        for of, label in GROUP_LABELS.items()
    ]
    # MLflow's page has no space between columns.
    lines = [
        " | ".join(f"{cell}\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}" for cell in row)
        for row in [("", "Base", "PIN", "Gain"), *rows]
    ]
    return "\n".join([f"| {lines[0]} |", "|---|---|---|---|", *(f"| {line} |" for line in lines[1:])])


def _shipped(evaluation: dict[str, Any]) -> str:
    if (reading := evaluation.get("as_shipped")) is None:
        return ""
    about = "After the final training, in which both have learnt all events before the test part:"
    return f"\n{about}\n\n{_table(reading)}\n\n{disagreement(evaluation) or '&nbsp;'}\n"


def _without_events(data: dict[str, Any]) -> str:
    if not (more := data.get("items_without_events")):
        return ""
    return f"- {count(more)} of the items are known from the table of items alone: they have no events yet.\n"


def _aggregation(training: dict[str, Any]) -> str:
    rule = training.get("aggregation")
    if not rule:
        return "none"
    strength = f", λ = {as_yaml(rule['strength'])}" if "strength" in rule else ""
    return f"{rule.get('name', rule['rule'])}{strength}"
