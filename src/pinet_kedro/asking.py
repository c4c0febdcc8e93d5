"""What a recommender is asked, in raw ids and in its own numbers, and what it answers, in raw ids."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pinet_kedro.categories import ItemCategories
from pinet_kedro.errors import InputError

Cells = tuple[Int[Tensor, " H"], Int[Tensor, " H"]]  # pairs of rows (users of a call) and columns (0..I-1)

_NUMBER = re.compile(r"[+-]?(\d+|\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d+)")


@dataclass(frozen=True)
class Constraints:
    """What may be recommended to one user, in raw ids and names of categories; by default everything.

    Items of `exclude` are not recommended, and only those of `only` are (None: all). Items have at least one of
    `categories` (None: any or none), and none of `not_categories`. All of these apply together, and unknown ids are
    skipped. With `min_categories`, the list has at least this number of distinct categories, if possible
    (`ItemCategories.spread`).
    """

    exclude: Sequence[str] = ()
    only: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    not_categories: Sequence[str] = ()
    min_categories: int = 0


@dataclass(frozen=True)
class Asked:
    """Left-padded histories, and the numbers of known and unknown items of each.

    `hidden` and `only` are the items that are not, or alone, recommended, and `spread` the least numbers of distinct
    categories: see `Recommender.best`.
    """

    padded: Int[Tensor, "B L"]
    lengths: Int[np.ndarray, " B"]
    unknown: list[int]
    hidden: Cells
    only: Sequence[Int[np.ndarray, " A"] | None]
    spread: dict[int, tuple[int, int]]


class Recommended(NamedTuple):
    """The best raw item ids for one history, and their scores, the best first.

    `stratum` is 'head' or 'tail'. `unknown_items`: number of items of the history that the model does not know.
    `fallback`: whether these are popular and recent items, because it knows none. `distinct_categories`: number of
    categories in the list where `min_categories` asked for some; fewer than asked for if there are not enough.
    """

    items: list[str]
    scores: list[float]
    stratum: str
    unknown_items: int
    fallback: bool
    distinct_categories: int | None = None


def select(
    asked: Constraints, columns: Callable[[Sequence[str]], Int[np.ndarray, " A"]], categories: ItemCategories | None
) -> tuple[Int[np.ndarray, " H"], Int[np.ndarray, " A"] | None]:
    """The columns that constraints hide, and those that alone may be recommended (None: all).

    `columns` gives those of known raw ids. Raises `InputError` for an unknown category, and where `categories` is None
    and one is asked for.
    """
    hidden, only = columns(asked.exclude), None if asked.only is None else columns(asked.only)
    if asked.categories is None and not asked.not_categories and not asked.min_categories:
        return hidden, only
    if categories is None:
        named = ("categories", "not_categories", "min_categories")
        raise InputError(
            f"{next(name for name in named if getattr(asked, name) not in (None, (), [], 0))}: this model knows no "
            "categories of its items. Name a file with categories in the catalog entry item_metadata, and run "
            "--pipeline=full or retraining: the new version has them."
        )
    if asked.categories is not None:
        allowed = categories.columns(asked.categories, "categories")
        only = allowed if only is None else np.intersect1d(only, allowed)
    return np.concatenate([hidden, categories.columns(asked.not_categories, "not_categories")]), only


def best_columns(scores: Float[Tensor, "B C"], k: int) -> tuple[Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """Scores and columns of the best K = min(k, C) of each row, the best first; of equal scores, lower columns first.

    `topk` alone takes any of equal scores. Which ones depends on k, so on what else is asked in the same call.
    """
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)  # one more: does it equal the last one?
    equal = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    values, columns = values[:, :k], columns[:, :k]
    if not equal.any():
        return values, columns
    for row in equal[:, k - 1 :].any(1).nonzero()[:, 0].tolist():
        if not values[row].isnan().any():  # it is the caller's to refuse
            last = scores[row] == values[row, -1]
            above = (scores[row] > values[row, -1]).nonzero()[:, 0]
            columns[row] = torch.cat([above, last.nonzero()[: k - len(above), 0]])
    columns = columns.sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def oldest_first(history: list[str], times: list[str], row: int) -> list[str]:
    """The history in the order of its times; events with equal times stay in the order given.

    Times are numbers, all of one unit, or dates in ISO 8601, all with an offset from UTC or all without, as texts. The
    times themselves are not used: neither backbones nor scorers know more of a history than its order.

    Raises `InputError` for a wrong length and for a text that is no time; it names `row` and the value.
    """
    where = f"row {row}, times"
    if len(times) != len(history):
        raise InputError(
            f"{where}: {len(times)} times for a history of {len(history)} items; there must be one for each item."
        )
    keys = [_moment(text, f"{where}.{place}") for place, text in enumerate(times)]
    for place, (kind, _) in enumerate(keys):
        if kind != keys[0][0]:
            raise InputError(
                f"{where}.{place}: {times[place][:60]!r} is {kind} and {times[0][:60]!r} is {keys[0][0]}; write all "
                "times of a history in one way."
            )
    return [history[place] for place in sorted(range(len(keys)), key=lambda place: keys[place])]


def _moment(text: str, where: str) -> tuple[str, tuple[Decimal | datetime, str]]:
    """The kind of a time, and what orders times of this kind: a number or a second, and the digits of its fraction."""
    if _NUMBER.fullmatch(text):
        with suppress(InvalidOperation):  # an exponent of 20 digits
            return "a number", (Decimal(text), "")  # a float would take seconds that differ by 100 ns for equal
    fraction = _FRACTION.search(text)  # `datetime` cuts nanoseconds off
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError:
        raise InputError(
            f"{where}: {text[:60]!r} is no time. A time is a number, or a date in ISO 8601 such as "
            "2026-11-30T08:15:00Z."
        ) from None
    kind = "a date without an offset from UTC" if moment.tzinfo is None else "a date with an offset from UTC"
    return kind, (moment, fraction[1].rstrip("0") if fraction else "")
