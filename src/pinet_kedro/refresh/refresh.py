"""Refresh: the champion's counts brought up to date with what has come in since it was trained, without training."""

import hashlib
import logging
from typing import Any

import numpy as np
import pandas as pd

from pinet_kedro.dataset import Dataset
from pinet_kedro.datasets.raw_log import RawLog
from pinet_kedro.errors import InputError, NothingToDo
from pinet_kedro.fitting.refresh import refreshed
from pinet_kedro.interactions.split import Split, without_repeats
from pinet_kedro.promotion.decision import Gate
from pinet_kedro.refresh.growth import Growth
from pinet_kedro.registry.loading import VersionModels
from pinet_kedro.registry.model_card import MODEL_CARD
from pinet_kedro.registry.users import hash_users
from pinet_kedro.reporting.text import day
from pinet_kedro.retraining.champion import (
    KEY,
    PARTITIONS_FILE,
    REFRESH_OF,
    START,
    Champion,
    champion_of,
    reached,
    read_champion,
)
from pinet_kedro.retraining.gathering import Partitions, gather, read_stored
from pinet_kedro.retraining.intake import Intake
from pinet_kedro.retraining.partitions import RAW_LOG, Delivery
from pinet_kedro.tracking import runs as tracking
from pinet_kedro.tracking.config import Tracking
from pinet_kedro.tracking.run_info import RunInfo

log = logging.getLogger(__name__)


def require_unlearnt(delivery: Delivery, registry: Tracking) -> Champion:
    """The champion, or the version that it is a refresh of.

    Raises `NothingToDo` if it has learnt all partitions, or if the champion is a refresh with all of them; `InputError`
    if there is no champion, or if it is not known what it has learnt or until when.
    """
    champion = read_champion(registry).champion
    if champion is None:
        raise InputError(
            "there is no champion to refresh: kedro run --pipeline=full, then kedro run --pipeline=promotion."
        )
    trained = f"version {champion.version}"
    if champion.partitions is None or champion.models.served_until is None or champion.models.judged is None:
        raise InputError(
            f"{trained} cannot be refreshed: it has no refit on a known log (registration.refit: all). "
            "Train another one: kedro run --pipeline=full."
        )
    delivered = delivery.contents()
    unlearnt = _unlearnt(champion, delivered)
    if not unlearnt:
        why = f"{trained} has learnt everything" if delivered else "there is no file"
        raise NothingToDo(f"Nothing new: {why} in {delivery.folder}.")
    with reached(registry):
        client = tracking.connect(registry)
        found = champion_of(client, registry.model, refresh_key(champion, unlearnt))
        if found is not None:
            raise NothingToDo(
                f"Nothing new: version {found.version}, the champion, has counted everything that came in."
            )
    return champion


def _unlearnt(champion: Champion, contents: dict[str, str]) -> dict[str, str]:
    learnt = champion.partitions or {}
    return {name: sha for name, sha in contents.items() if learnt.get(name) != sha and name != RAW_LOG}


def refresh_key(champion: Champion, unlearnt: dict[str, str]) -> str:
    """Names a refresh: the trained version and the partitions that it adds."""
    return hashlib.sha256(repr((champion.version, sorted(unlearnt.items()))).encode()).hexdigest()


def gather_unlearnt(
    champion: Champion, raw_log: RawLog | None, accepted: Partitions, intake: Intake
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Raw events that the version was trained on, and those of the partitions since.

    Raises `InputError` if some of what it was trained on is gone, or has another content: the same numbers of events of
    all items, which the counts of the model would show, are not the same histories.
    """
    learnt = champion.partitions or {}
    names = [name for name in learnt if name != RAW_LOG]
    gone = [name for name in names if name not in accepted]
    if gone or (RAW_LOG in learnt and raw_log is None):
        what = ", ".join(gone[:5]) or "the raw log (retraining.raw_log is false)"
        raise InputError(
            f"version {champion.version} was trained on events that are not here: {what}. Restore them, or train: "
            "kedro run --pipeline=retraining."
        )
    if RAW_LOG not in learnt:
        raw_log = None
    now = {name: intake.partitions.get(name, sha) for name, sha in learnt.items()}
    if raw_log is not None:
        now[RAW_LOG] = raw_log.stamped(None)["sha256"]
    changed = ["the raw log" if name == RAW_LOG else name for name in learnt if now[name] != learnt[name]]
    what = f"another content of {', '.join(changed[:5])}" if changed else ""
    if not what and raw_log is not None and champion.raw_log not in (None, raw_log.description):
        what = "the raw log with other columns or times ('raw_interactions' of the catalog)"
    if what:
        raise InputError(
            f"the log is not the one that the champion has learnt: version {champion.version} was trained on {what}. "
            "Put that back, or train: kedro run --pipeline=retraining."
        )
    intake = intake.model_copy(update={"partitions": learnt | intake.partitions})
    log_events = None if raw_log is None else raw_log.read()
    before = gather(read_stored(accepted, names, intake), log_events)
    since = gather(read_stored(accepted, _unlearnt(champion, intake.partitions), intake))
    return before.in_memory().events, since.in_memory().events


def refresh(champion: Champion, growth: Growth, held_out: float) -> tuple[VersionModels, Dataset]:
    """The champion's model after all events, beside the one that is judged, and the data to judge it on.

    The targets are the first events of users with a history after a cut in time, which leaves the share `held_out` of
    the events that are newer than the champion has learnt after it; the judged model has learnt everything before the
    cut. Raises `InputError` if no new event is newer.
    """
    model, now, since = champion.models.served, growth.now, champion.learnt_until
    fresh = np.sort(now.timestamps[now.timestamps > since])
    if len(fresh) == 0:
        raise InputError(
            "no new event is newer than what the champion has learnt, so a refresh cannot be judged. Late events are "
            "learnt by the next training: kedro run --pipeline=retraining."
        )
    cut = int(fresh[int(len(fresh) * (1 - held_out))])
    nothing = np.zeros(now.n_users, np.int64)
    until_cut = now.where(now.timestamps < cut)
    before = until_cut.lengths
    split = Split(
        train_end=before,
        valid_at=nothing - 1,
        test_at=np.where((before > 0) & (before < now.lengths), before, -1),
        test_from=before,
        exclude_seen=model.exclude_seen,
    )
    if model.exclude_seen:
        split = without_repeats(now, split)
    counts = np.bincount(until_cut.items, minlength=model.n_items + 1)[1:]
    items = pd.DataFrame({"item_id": pd.array(model.item_ids, "string"), "training_events": counts})
    users = champion.models.users
    models = VersionModels(
        served=refreshed(model, growth.known, now),
        judged=refreshed(model, growth.known, until_cut),
        served_until=int(fresh[-1]),
        judged_until=max(since, int(until_cut.timestamps.max(initial=0))),
        users=None if users is None else np.union1d(users, hash_users(growth.new_users)),
    )
    return models, Dataset(now, split, model.strata, items)


def register(models: VersionModels, champion: Champion, growth: Growth, intake: Intake, run: RunInfo) -> dict[str, Any]:
    """As `registry.register_once`: a version that an earlier run of this refresh has registered is taken over, unless
    its settings (`two_stage`, `refresh`) or its code were others.
    """
    from pinet_kedro.registry.registration import register_once

    registry, added = run.tracking, _unlearnt(champion, intake.partitions)
    key = refresh_key(champion, added)
    tags: dict[str, str] = {name: champion.tags[name] for name in ("data.name", "seed") if name in champion.tags}
    start = f"refresh of version {champion.version}, new partitions: {len(added)}"
    tags |= {KEY: key, START: start, REFRESH_OF: champion.version}
    files: dict[str, Any] = {
        PARTITIONS_FILE: (champion.partitions or {}) | added,
        MODEL_CARD: _card(models, champion, growth),
    }
    with reached(registry):
        made = register_once(models, _facts(models, growth, key), registry, tags, files, run.mlflow_id)
    if "registered_before" in made:
        log.info("Version %s is this refresh already; it is judged again.", made["version"])
    return made


def _facts(models: VersionModels, growth: Growth, key: str) -> dict[str, Any]:
    """What registration reads of an evaluation; the figures of a refresh are those of the decision on it."""
    newest = {"all": models.served_until, "before_test": models.judged_until, "training": models.judged_until}
    size = {"users": growth.users, "items": models.served.n_items, "events": growth.events}
    return {
        "data": {"sha256": key, **size, "newest_event": newest}, "models": {"pin": {}}, "comparisons": {},
        "as_shipped": None,
    }  # fmt: skip


def _card(models: VersionModels, champion: Champion, growth: Growth) -> str:
    origin = f"version {champion.version}"
    return f"""\
Refresh of {origin}, with events until {day(models.served_until)}: recommends the next items after a user's history.

Nothing is trained: {growth.sentence()}, in popularity, recency and the memory of transitions. Backbone, factors and \
the weights of the plugins are those of {origin}, whose card has their data, quality, use and limits. Promotion judges \
a second model, which has counted the events until {day(models.judged_until)}.
"""


def accepted_by_gate(intake: Intake) -> Gate:
    """The gate `validation` of a refresh: only partitions that meet the suite come so far."""
    report = f"new partitions that meet the rules for raw events: {len(intake.new)}"
    return Gate(name="validation", passed=True, measured=report, asked="all rules hold")
