"""The rules of cleaning, and codes of ids, as Ibis expressions: the same on every engine.

`events` has the columns `row` (the order of ties), `user` and `item` (codes from 0, in the order of the sorted ids),
`timestamp` and, if there is one, `rating`.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING

from pinet_kedro.engines.engine import Engine, whole_number
from pinet_kedro.interactions.events import Cleaning

EVENT = ("user", "item", "timestamp")  # two events that are equal in these are one, logged twice

if TYPE_CHECKING:
    from ibis.expr.types import Table


def codes(engine: Engine, events: "Table", column: str) -> "Table":
    """`id, code` of the distinct ids of a column: code 0 is the first of the sorted ids."""
    ids = events.select(id=events[column]).filter(lambda t: t.id.notnull()).distinct()
    return numbered(engine, ids, "id").select("id", "code")


def numbered(engine: Engine, table: "Table", key: str) -> "Table":
    """The table with `code`: the place of each row from 0 in the order of a key that is unique.

    An engine that divides tables sorts in two levels, since a number over all rows would be one task: ranges of keys,
    then the place in the range after those of the ranges before.
    """
    import ibis

    if engine.partitions == 1:
        return table.mutate(code=ibis.row_number().over(order_by=table[key]).cast("int32"))
    table = engine.store(f"by_{key}", [table])
    step = max(1, whole_number(table.count()) // (100 * engine.partitions))
    sample = sorted(table.filter(table[key].hash().abs() % step == 0)[key].to_pyarrow().to_pylist())
    bounds = sorted(
        {sample[at * len(sample) // engine.partitions] for at in range(1, engine.partitions)} if sample else ()
    )
    place = reduce(add, ((table[key] >= bound).cast("int32") for bound in bounds), ibis.literal(0).cast("int32"))
    table = table.mutate(range=place)
    sizes = table.group_by("range").agg(size=table.count()).order_by("range").to_pyarrow().to_pylist()
    before = accumulate((entry["size"] for entry in sizes), initial=0)
    first = ibis.cases(
        *((table.range == entry["range"], start) for entry, start in zip(sizes, before, strict=False)), else_=0
    )
    within = ibis.row_number().over(group_by=table.range, order_by=table[key])
    return table.mutate(code=(within + first).cast("int32")).drop("range")


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
    """`user, events` and `item, events` of the k-core: all remaining users and items have the minimum.

    A round looks only for the events of those that it drops, and takes them from the counts: all others are not joined.
    """
    least = {"user": config.min_user_events, "item": config.min_item_events}
    left = {name: engine.store(f"{name}_counts", [events.group_by(name).agg(events=events.count())]) for name in least}
    dropped: dict[str, list[Table]] = {name: [] for name in least}
    few = _below(left, least)
    while any(whole_number(table.count()) for table in few.values()):
        of_users = without(events.semi_join(few["user"], "user"), "item", dropped["item"])
        of_items = without(events.semi_join(few["item"], "item"), "user", [*dropped["user"], few["user"]])
        turn = len(dropped["user"])
        lost = engine.store(f"lost_{turn}", [of_users.select(*least), of_items.select(*least)])
        for name, table in left.items():
            fewer = lost.group_by(name).agg(lost=lost.count())
            now = table.filter(table.events >= least[name]).left_join(fewer, name)
            now = now.mutate(events=now.events - now.lost.fill_null(0)).select(name, "events")
            # A table of its own in each turn: what was dropped is a part of the earlier ones.
            left[name] = engine.store(f"{name}_counts_{turn}", [now])
            dropped[name].append(few[name])
        few = _below(left, least)
    return left


def _below(counts: dict[str, "Table"], least: dict[str, int]) -> dict[str, "Table"]:
    return {name: counts[name].filter(counts[name].events < least[name]) for name in least}


def without(events: "Table", name: str, dropped: Sequence["Table"]) -> "Table":
    """The events whose user, or item, is in none of the tables."""
    for table in dropped:
        events = events.anti_join(table, name)
    return events


def kept_codes(engine: Engine, ids: "Table", kept: "Table") -> "Table":
    """`id, old, code, events` of the remaining ids: their codes before and now, and their numbers of events."""
    found = ids.inner_join(kept, ids.code == kept[kept.columns[0]])
    return numbered(engine, found.select(id=ids.id, old=ids.code, events=kept.events), "old")


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
