"""The on-policy hit rate: the share of answers whose user then took a recommended item, by arm and stratum."""

import logging
import time
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from pinet_kedro.errors import InputError
from pinet_kedro.evaluation.intervals import difference_of_shares, share_of_all
from pinet_kedro.feedback.answers import Answers, read_answers
from pinet_kedro.feedback.config import Feedback
from pinet_kedro.feedback.interactions import Partitions, gather_since
from pinet_kedro.feedback.report import Cell, Difference, FeedbackReport, Gap, Rate
from pinet_kedro.interactions.codes import encode
from pinet_kedro.project import project_folder
from pinet_kedro.reading.nanoseconds import SECOND, iso

log = logging.getLogger(__name__)

_GROUPS = ("all", "tail", "head")
_CELL = ["split", "arm", "version"]


def measure_feedback(folder: str, partitions: Partitions, names: list[str], config: Feedback) -> FeedbackReport:
    """The report on the answers in a folder of the project, by the interactions of these partitions.

    Raises `InputError` where the log or a partition cannot be used.
    """
    answers = read_answers(project_folder() / folder)
    if answers.table.empty:
        why = f"no answer to a user is logged in {folder} (serving.log.enabled)"
        return FeedbackReport(hours=config.hours, days=config.days, skipped=answers.skipped, missing=why)
    events, dated = gather_since(partitions, names, _seconds(int(answers.table["time"].min())))
    if dated:
        where = ", ".join(dated[:3]) + (", …" if len(dated) > 3 else "")
        why = (
            f"interactions have a date without a time of day in {where}: whether they came after an answer is not known"
        )
        return FeedbackReport(hours=config.hours, days=config.days, skipped=answers.skipped, missing=why)
    return compare(answers, events, config, time.time_ns())


def measure_if_readable(folder: str, partitions: Partitions, names: list[str], config: Feedback) -> FeedbackReport:
    """As `measure_feedback`; a log that cannot be read is a reason in the report: it must not stop retraining."""
    try:
        return measure_feedback(folder, partitions, names, config)
    except (InputError, OSError) as error:
        log.warning("No feedback is measured: %s", error)
        return FeedbackReport(hours=config.hours, days=config.days, missing=str(error).rstrip("."))


def compare(answers: Answers, events: pd.DataFrame, config: Feedback, now: int) -> FeedbackReport:
    """The report on these answers and interactions (`user_id, item_id, timestamp` in nanoseconds); `now` likewise.

    An answer is one user at one time. It is a hit if the user has an interaction with one of its items from the second
    of the answer (many logs have whole seconds) until `hours` later. Answers whose hours end after the newest
    interaction are censored: what was taken is not known yet, so they do not count, hit or not.
    """
    table = answers.table
    known: dict[str, Any] = {
        "hours": config.hours, "days": config.days, "logged": len(table), "skipped": answers.skipped,
        "users": int(table["user"].nunique()),
    }  # fmt: skip
    if events.empty:
        why = f"no interaction is newer than the first logged answer ({iso(int(table['time'].min()))} UTC)"
        return FeedbackReport(**known, missing=why)
    until = min(int(events["timestamp"].max()), now)
    asked = table["time"].to_numpy(np.int64)
    deadline = asked + round(config.hours * 3600) * SECOND
    censored = deadline > until
    old = asked < until - round(config.days * 86_400) * SECOND
    known |= {"until": until, "censored": int(censored.sum()), "old": int(old.sum())}
    counted = ~censored & ~old
    if not counted.any():
        age = f"at least {config.hours:g} and at most {24 * config.days:g} h"
        why = f"no answer is {age} older than the newest interaction ({iso(until)} UTC)"
        return FeedbackReport(**known, missing=why)
    if not table["user"][counted].isin(events["user_id"].unique()).any():
        why = "none of the answered users has an interaction: requests and files may name users differently"
        return FeedbackReport(**known, missing=why)
    hit = _hits(answers, _seconds(asked), deadline, events)
    # One row an answer: a user who is asked for twice in one request is answered once.
    rows = table.assign(hit=hit)[counted].groupby([*_CELL, "user", "time"], sort=False, as_index=False, observed=True)
    one = rows.agg({"hit": "max", "stratum": "first"})
    cells = [_cell(names, part, config.users) for names, part in one.groupby(_CELL, sort=True)]
    return FeedbackReport(**known, counted=len(one), cells=tuple(cells), differences=_differences(cells))


def _seconds(moments: Any) -> Any:
    return moments // SECOND * SECOND


def _hits(
    answers: Answers, since: Int[np.ndarray, " A"], until: Int[np.ndarray, " A"], events: pd.DataFrame
) -> Bool[np.ndarray, " A"]:
    """Whether the user of each answer has an interaction with one of its items between two times, both included."""
    (user_of_event, users), (item_of_event, items) = encode(events["user_id"]), encode(events["item_id"])
    answer = np.repeat(np.arange(len(since)), np.diff(answers.offsets))
    user = pd.Index(users).get_indexer(pd.Index(answers.table["user"]))[answer]
    item = pd.Index(items).get_indexer(pd.Index(answers.items))
    known = (user >= 0) & (item >= 0)
    shown = pd.DataFrame({"pair": user * len(items) + item, "answer": answer, "time": since[answer]})[known]
    times = events["timestamp"].to_numpy(np.int64)
    pairs = user_of_event.astype(np.int64) * len(items) + item_of_event
    taken = pd.DataFrame({"pair": pairs, "time": times, "row": np.arange(len(times))})
    # Few pairs were both shown and taken, and matching by time is slow.
    shown = shown[shown["pair"].isin(taken["pair"])]
    taken = taken[taken["pair"].isin(shown["pair"])]
    # The first interaction from `since` on decides.
    first = pd.merge_asof(
        shown.sort_values("time"), taken.sort_values("time"), on="time", by="pair", direction="forward"
    ).dropna()
    hit = np.zeros(len(since), bool)
    hit[first["answer"][times[first["row"].astype(np.int64)] <= until[first["answer"]]]] = True
    return hit


def _cell(names: Any, part: pd.DataFrame, least: int) -> Cell:
    split, arm, version = names
    groups = {name: part if name == "all" else part[part["stratum"] == name] for name in _GROUPS}
    return Cell(
        split=split, arm=arm, version=version, first=int(part["time"].min()), last=int(part["time"].max()),
        groups={name: _rate(rows, least) for name, rows in groups.items()},
    )  # fmt: skip


def _rate(part: pd.DataFrame, least: int) -> Rate:
    by_user = part.groupby("user")["hit"].agg(["sum", "size"]).to_numpy(np.int64)
    counts = {"users": len(by_user), "answers": len(part), "hits": int(by_user[:, 0].sum())}
    if len(by_user) < least:
        return Rate(**counts)
    rate, low, high = share_of_all(by_user[:, 0], by_user[:, 1])
    return Rate(**counts, rate=rate, low=low, high=high)


def _differences(cells: list[Cell]) -> tuple[Difference, ...]:
    """Of the two arms of each split, the second as configured minus the first."""
    pairs = [
        [cell for cell in cells if cell.split == split] for split in dict.fromkeys(c.split for c in cells) if split
    ]
    found = []
    for pair in pairs:
        if len(pair) == 2:
            first, second = sorted(pair, key=lambda cell: cell.place)
            gaps = {name: _gap(second.groups[name], first.groups[name]) for name in _GROUPS}
            found.append(Difference(split=first.split, arm=second.arm, against=first.arm, groups=gaps))
    return tuple(found)


def _gap(rate: Rate, reference: Rate) -> Gap | None:
    mine, other = rate.interval(), reference.interval()
    if mine is None or other is None or not rate.hits + reference.hits:
        return None
    difference, low, high = difference_of_shares(mine, other)
    return Gap(difference=difference, low=low, high=high)
