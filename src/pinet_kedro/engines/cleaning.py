"""The rules of cleaning, and codes of ids, as Ibis expressions: the same on every engine.

`events` has the columns `row` (the order of ties), `user` and `item` (codes from 0, in the order of the sorted ids),
`timestamp` and, if there is one, `rating`.
"""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from pinet_kedro.engines.engine import Engine
from pinet_kedro.interactions.events import Cleaning

EVENT = ("user", "item", "timestamp")  # two events that are equal in these are one, logged twice

if TYPE_CHECKING:
    from ibis.expr.types import Table


def codes(events: "Table", column: str) -> "Table":
    """`id, code` of the distinct ids of a column: code 0 is the first of the sorted ids."""
    import ibis

    ids = events.select(id=events[column]).filter(lambda t: t.id.notnull()).distinct()
    return ids.mutate(code=ibis.row_number().over(order_by=ids.id).cast("int32"))


def coded(events: "Table", users: "Table | None", items: "Table | None") -> "Table":
    """The events with codes in place of ids; the code of a missing id is null."""
    for name, known in (("user", users), ("item", items)):
        if known is not None:
            found = known.select(**{f"{name}_id": known.id, name: known.code})
            events = events.left_join(found, f"{name}_id").drop(f"{name}_id", f"{name}_id_right")
    return events


def rated(events: "Table", threshold: float) -> "Table":
    """The events that reach the threshold."""
    return events.filter(events.rating >= threshold)


def grouped(events: "Table", columns: Sequence[str] = EVENT) -> "Table":
    """The distinct values of columns, with the number of `rows` that have them and the first `row`."""
    return events.group_by(columns).agg(row=events.row.min(), rows=events.count())


def core(engine: Engine, events: "Table", config: Cleaning) -> dict[str, "Table"]:
    """`user, events` and `item, events` of the k-core: all remaining users and items have the minimum."""
    least = {"user": config.min_user_events, "item": config.min_item_events}
    kept: dict[str, Table] = {}
    for turn in count():
        left = within(events, kept)
        # Stored under two names in turn: the counts of a round are made from those of the one before.
        counts = {
            name: engine.store(f"{name}_counts_{turn % 2}", [left.group_by(name).agg(events=left.count())])
            for name in least
        }
        kept = {name: table.filter(table.events >= least[name]) for name, table in counts.items()}
        if all(_events(kept[name]) == _events(counts[name]) for name in least):
            break
    return kept


def _events(counts: "Table") -> int:
    return int(counts.events.sum().execute() or 0)


def within(events: "Table", kept: dict[str, "Table"]) -> "Table":
    """The events whose users and items are among those that are kept."""
    for name, table in kept.items():
        events = events.semi_join(table, name)
    return events


def kept_codes(ids: "Table", kept: "Table", code: str) -> "Table":
    """`id, old, code, events` of the remaining ids: their codes before and now, and their numbers of events."""
    import ibis

    found = ids.inner_join(kept, ids.code == kept[code])
    found = found.select(id=ids.id, old=ids.code, events=kept.events)
    return found.mutate(code=ibis.row_number().over(order_by=found.old).cast("int32"))


def renumbered(events: "Table", kept: dict[str, "Table"]) -> "Table":
    """The events of these users and items (`id, old, code`), with their new codes."""
    for name, table in kept.items():
        new = table.select(old=table.old, new=table.code)
        events = events.inner_join(new, events[name] == new.old).drop(name, "old").rename({name: "new"})
    return events


def sorted_block(events: "Table", first: int, last: int) -> "Table":
    """The events of users [first, last), by user and time; ties have the order of the files."""
    block = events.filter(events.user >= first, events.user < last)
    return block.order_by("user", "timestamp", "row").select("item", "timestamp")
