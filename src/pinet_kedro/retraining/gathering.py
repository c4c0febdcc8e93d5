"""The raw log of the environment and all partitions as one raw log."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pandas as pd

from pinet_kedro.datasets.raw_log import WAY_OUT, RawLog
from pinet_kedro.engines.logs import RawTables
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.events import EVENT, Cleaning, Interactions, as_read_now, rated_enough
from pinet_kedro.reading.nanoseconds import SECOND
from pinet_kedro.reporting.text import plural
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.intake import Intake, check_rules
from pinet_kedro.retraining.partitions import CONTENT, RAW_LOG

log = logging.getLogger(__name__)

_USERS = 1000  # of all partitions that are looked at, for events with other digits of their times

Partitions = Mapping[str, Callable[[], pd.DataFrame]]


def read_stored(accepted: Partitions, names: Iterable[str], intake: Intake) -> dict[str, pd.DataFrame]:
    """Events of these accepted partitions, in the order of their names.

    Raises `InputError` where what is stored of one is not what the intake has. So it is where a run stored the new
    content of a changed file and did not end, and the old file is back: the file is known, and what is stored of it is
    another one.
    """
    found = {}
    for name in sorted(names):
        events, content = accepted[name](), intake.partitions.get(name)
        stored = events.attrs.get(CONTENT)  # earlier versions stored none
        if stored and content and stored != content:
            raise InputError(
                f"partition {name}: what is stored of it was read from another content than the one that counts as "
                "taken, by a run that did not end. Put that file back (retraining.changed_partition=replace), or "
                f"remove the entry of {name} from .taken.json in the folder of the partitions: it is read again then."
            )
        found[name] = as_read_now(events, "stored")
    return found


def gather_all(
    raw_log: RawLog | None, accepted: Partitions, intake: Intake, config: Retraining
) -> Interactions | RawTables:
    """Everything that the run trains on: the raw log, if it is part of that, and all accepted partitions.

    It is in an engine if the environment reads its raw log into one.

    Raises `InputError` if the raw log cannot be read, is not the one of the intake, or has ids of another kind.
    """
    now = None if raw_log is None else raw_log.stamped(None)["sha256"]
    if now != intake.raw_log:
        raise InputError(
            "the raw log of the environment has changed since this run began, or retraining.raw_log has: start the run "
            "again."
        )
    if lost := [name for name in intake.files if name not in accepted]:
        raise InputError(
            f"partition {lost[0]} ({len(lost):,} in all) counts as taken, and its events are not stored any more "
            "('accepted_partitions' of the catalog). Restore them, or remove .taken.json in the folder of the "
            "partitions: all of its files are taken in anew then."
        )
    parts = read_stored(accepted, intake.files, intake)
    if raw_log is None:
        return gather(parts)
    log_events = check_rules(raw_log.opened(), RAW_LOG, config)
    try:
        return _joined(raw_log, log_events, parts, intake.new)
    except Exception:
        log_events.close()
        raise


def _joined(
    raw_log: RawLog, log_events: Interactions | RawTables, parts: dict[str, pd.DataFrame], new: list[str]
) -> Interactions | RawTables:
    if not log_events.origin.clock:
        raise InputError(
            f"the timestamps of {raw_log.shown} give the order of its events, not their time: events of partitions "
            f"cannot be placed among them. {WAY_OUT}."
        )
    fresh = {name: parts[name] for name in new}
    _check_ids(log_events, fresh)
    _warn_of_repeats(log_events, fresh)
    found = gather(parts, log_events)
    log.info("Training data: %s, %s raw events", found.origin.file, f"{found.size[0]:,}")
    return found


def gather(parts: dict[str, pd.DataFrame], raw_log: Interactions | RawTables | None = None) -> Interactions | RawTables:
    """Events of the raw log, if given, and of these partitions, as one raw log.

    A column that some of them lack, such as ratings, is left out.
    """
    source = plural(len(parts), "partition")
    if raw_log is not None:
        source = f"{raw_log.origin.file} and {source}"
        if isinstance(raw_log, RawTables):
            return raw_log.joined(parts.values(), source)
        parts = {RAW_LOG: raw_log.events, **parts}
    events = pd.concat(parts.values(), ignore_index=True, join="inner")
    return Interactions.canonical(events, source)


def rated(found: Interactions | RawTables, cleaning: Cleaning) -> Interactions | RawTables:
    """The events that reach the rating threshold, all if there is none; `InputError` without ratings."""
    if cleaning.rating_threshold is None:
        return found
    if isinstance(found, RawTables):
        return found.rated(cleaning)
    return replace(found, events=found.events[rated_enough(found.events, cleaning, found.origin.file)])


def _check_ids(raw: Interactions | RawTables, partitions: dict[str, pd.DataFrame]) -> None:
    """Raises `InputError` where the ids of a partition are of another kind than those of the raw log.

    No id of the column is in both, and either all are whole numbers on one side and none on the other, or some are
    equal but for leading zeros. Each user would silently become two.
    """
    for column, what in (("user_id", "user"), ("item_id", "item")):
        known = raw.distinct_ids(column) if isinstance(raw, RawTables) else pd.Index(raw.events[column].unique())
        for name, events in partitions.items():
            ids = pd.Index(events[column].unique())
            if ids.empty or ids.isin(known).any():  # a delivery without events is none of another kind
                continue
            mine, theirs = (each.str.fullmatch(r"[0-9]+") for each in (ids, known))
            other_kind = (mine.all() and not theirs.any()) or (theirs.all() and not mine.any())
            if other_kind or ids.str.lstrip("0").isin(known.str.lstrip("0")).any():
                raise InputError(
                    f"partition {name} and the raw log {raw.origin.file} have no {what} in common, and write their ids "
                    f"differently: '{ids[0]}' there, '{known[0]}' here. A {what} must have the same id in both, or it "
                    f"would count as two. Correct the partition, or its columns ('new_interactions' in the catalog); "
                    "if the partitions are the whole log, set retraining.raw_log: false."
                )
            log.warning("No %s of partition %s is in the raw log %s.", what, name, raw.origin.file)


def _warn_of_repeats(raw: Interactions | RawTables, partitions: dict[str, pd.DataFrame]) -> None:
    """Reports events that are in a partition and in the raw log, with times of another resolution: both would stay.

    Looked at are those of the first users of each partition, whatever the size of both: the raw log is read once.
    """
    least = max(10, _USERS // max(1, len(partitions)))
    first = {name: events["user_id"].unique()[:least].tolist() for name, events in partitions.items()}
    known = _events_of(raw, sorted({user for users in first.values() for user in users})).drop_duplicates()
    for name, events in partitions.items():
        events, near = (of.loc[of["user_id"].isin(first[name]), EVENT].drop_duplicates() for of in (events, known))
        if events.empty or near.empty:
            continue
        coarse, fine = sorted((_resolution(part["timestamp"]) for part in (events, near)), reverse=True)
        if coarse == fine:
            continue
        cut = [part.assign(timestamp=part["timestamp"] // coarse).drop_duplicates() for part in (events, near)]
        if repeats := len(cut[0].merge(cut[1])) - len(events.merge(near)):
            log.warning(
                "%s events of partition %s, of %s looked at, are those of the raw log %s, but for the digits of their "
                "times: they count twice. Deliver times as exact as those of the raw log, or only events that are not "
                "in it.",
                f"{repeats:,}", name, f"{len(events):,}", raw.origin.file,
            )  # fmt: skip


def _events_of(raw: Interactions | RawTables, users: list[str]) -> pd.DataFrame:
    """`user_id, item_id, timestamp` of the events of these users."""
    if isinstance(raw, RawTables):
        events = raw.staged.filter(raw.staged.user_id.isin(users)).select(*EVENT).to_pyarrow().to_pandas()
    else:
        events = raw.events.loc[raw.events["user_id"].isin(users), EVENT]
    return events.astype({"user_id": "string", "item_id": "string", "timestamp": "int64"})


def _resolution(times: pd.Series) -> int:
    """The coarsest step, of a second to a nanosecond, of which all times are multiples (ns)."""
    return next(step for step in (SECOND, 10**6, 10**3, 1) if not (times % step).any())
