"""New partitions past the gate: the good ones go on, the bad ones are set aside with their reports."""

import logging
import shutil
from dataclasses import replace
from typing import Any, TypeVar

import pandas as pd
from pydantic import Field

from pinet_kedro.configuration import Stored
from pinet_kedro.errors import InputError
from pinet_kedro.project import project_folder
from pinet_kedro.reporting.text import plural
from pinet_kedro.retraining.config import Retraining
from pinet_kedro.retraining.partitions import CONTENT, RAW_LOG, Delivery, Partition
from pinet_kedro.validation.gate import ExpectationGate
from pinet_kedro.validation.messages import OF_A_PARTITION
from pinet_kedro.validation.suites import SuiteError, ValidationFailedError

log = logging.getLogger(__name__)

_NAMES = 5
_Log = TypeVar("_Log")  # in memory or in an engine


class Arrival(Stored):
    """One new partition. `first` and `last` are the times of its events, nanoseconds since 1970."""

    id: str
    accepted: bool
    changed: bool = False
    events: int = 0
    users: int = 0
    items: int = 0
    first: int | None = None
    last: int | None = None
    report: str | None = Field(None, description="what was wrong")
    place: str | None = Field(None, description="where it was set aside")


class Intake(Stored):
    """What a run found in the folder of partitions, and what it trains on: `partitions`, id -> sha256.

    The raw log of the environment, if it is part of the training data, is among these under `RAW_LOG`.
    """

    arrivals: tuple[Arrival, ...]
    partitions: dict[str, str]

    @property
    def new(self) -> list[str]:
        """Ids of the new partitions that were accepted."""
        return [arrival.id for arrival in self.arrivals if arrival.accepted]

    @property
    def files(self) -> list[str]:
        """Ids of the partitions that it trains on, the new ones included."""
        return [name for name in self.partitions if name != RAW_LOG]

    @property
    def raw_log(self) -> str | None:
        """The sha256 of the raw log; None if it is not part of the training data."""
        return self.partitions.get(RAW_LOG)


def take_in(delivery: Delivery, config: Retraining) -> tuple[dict[str, pd.DataFrame], Intake]:
    """Events of the accepted partitions by id, and the account of all new ones.

    Raises `SuiteError` where the suite cannot be used, and `InputError` where a known partition has another content
    or the raw log another one (`changed_partition: stop`), where a partition is bad (`bad_partition: stop`; no file has
    been moved then), or where none of the new ones can be used.
    """
    if delivery.raw_log_changed and config.changed_partition == "stop":
        raise InputError(_other_raw_log(delivery))
    changed = [name for name, partition in delivery.new.items() if partition.changed]
    if changed and config.changed_partition == "stop":
        raise InputError(
            f"{_listed(changed)}: already taken, and the content has changed since. Nothing is counted twice behind "
            "your back: put the old file back, or let the new content replace what was taken from the old one "
            "(--params=retraining.changed_partition=replace), or deliver the difference under a new name."
        )
    accepted: dict[str, pd.DataFrame] = {}
    bad: dict[str, str] = {}
    for name, partition in delivery.new.items():
        try:
            accepted[name] = _checked(partition, config)
        except SuiteError:
            raise  # of no partition's making
        except InputError as error:
            bad[name] = str(error)
    if bad and config.bad_partition == "stop":
        raise ValidationFailedError("\n".join(f"partition {name}: {report}" for name, report in bad.items()))
    places = {name: _set_aside(delivery.new[name], config, report) for name, report in bad.items()}
    if bad and not accepted:
        raise InputError(
            f"none of the new partitions can be used: {_listed(list(bad))}. Correct them and put them back; they and "
            f"their reports are in {config.rejected}."
        )
    arrivals = tuple(
        _arrival(name, delivery.new[name].changed, accepted[name])
        if name in accepted
        else Arrival(id=name, accepted=False, changed=delivery.new[name].changed, report=bad[name], place=places[name])
        for name in delivery.new
    )
    log.info(
        "New partitions: %d (%s events), set aside: %d",
        len(accepted), f"{sum(map(len, accepted.values())):,}", len(bad),
    )  # fmt: skip
    return accepted, Intake(arrivals=arrivals, partitions=delivery.contents())


def _other_raw_log(delivery: Delivery) -> str:
    both = "--params=retraining.changed_partition=replace"
    if delivery.raw_log_taken is None:
        return (
            f"what was taken so far ({plural(len(delivery.taken), 'partition')}) was trained on without the raw log of "
            "the environment ('raw_interactions' of the catalog). If the partitions are the whole log, set "
            f"retraining.raw_log: false; or train on both ({both})."
        )
    return (
        "the raw log of the environment ('raw_interactions' of the catalog) has changed since it was last trained on, "
        "or is read otherwise (columns, unit of times). "
        f"Put the old one back, or train on the new one in its place ({both})."
    )


def _checked(partition: Partition, config: Retraining) -> pd.DataFrame:
    """The partition's events; raises `InputError` where they cannot be read or break a rule."""
    try:
        found = partition.read()
    except InputError as error:
        if "--params" not in str(error):
            raise
        raise InputError(f"{error}{OF_A_PARTITION}") from error
    events = check_rules(replace(found, origin=replace(found.origin, log=False)), partition.id, config).events
    events.attrs[CONTENT] = partition.stamp["sha256"]  # stored with the events
    return events


def check_rules(found: _Log, name: str, config: Retraining) -> _Log:
    """The log itself; raises `ValidationFailedError`, and leaves pages, if they break a rule."""
    pages = f"{config.rejected}/{name}.report"
    gate: Any = ExpectationGate(config.suite, pages)
    gate.validate(found)
    shutil.rmtree(project_folder() / pages, ignore_errors=True)
    return found


def _set_aside(partition: Partition, config: Retraining, report: str) -> str:
    place = partition.set_aside(project_folder() / config.rejected, report)
    log.warning("Partition %s was set aside as %s:\n%s", partition.id, place, report)
    return str(place.relative_to(project_folder()))


def _arrival(name: str, changed: bool, events: pd.DataFrame) -> Arrival:
    return Arrival(
        id=name,
        accepted=True,
        changed=changed,
        events=len(events),
        users=events["user_id"].nunique(),
        items=events["item_id"].nunique(),
        first=None if events.empty else int(events["timestamp"].min()),
        last=None if events.empty else int(events["timestamp"].max()),
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"partition{'s' * (len(names) > 1)} {', '.join(names[:_NAMES])}{more}"
