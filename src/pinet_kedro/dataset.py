"""The prepared data of a run in one object: histories, their split, strata of users, item table."""

import hashlib
import logging
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from pinet_kedro.activeness import ReportingStrata, Stratification, fit_strata
from pinet_kedro.categories import ItemCategories
from pinet_kedro.interactions.items import categories_of, items_without_events, no_items
from pinet_kedro.interactions.sequences import Indexed, Sequences, build_sequences
from pinet_kedro.interactions.split import ExcludeSeen, Split, Splitting, split_sequences

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Dataset:
    """The data of U users and I items that training, evaluation and promotion use.

    `items` has one row for each item 1..I, in this order, with its raw id in the column `item_id`, and with the list of
    its categories in `categories` if any item has one. Items without any event come last (`logged`). The arrays of
    `sequences` and `split` may be memory-mapped; a pickled dataset then refers to their files, so that processes share
    them. Use `dataclasses.replace` for the same data with another split or other strata.
    """

    sequences: Sequences
    split: Split
    strata: ReportingStrata
    items: pd.DataFrame

    @property
    def n_users(self) -> int:
        """U."""
        return self.sequences.n_users

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.items)

    @cached_property
    def logged(self) -> "Dataset":
        """The dataset without items that have no event: what can be learnt of items is learnt of these.

        An item without events has not been refused by anybody, perhaps it was never shown. So it is no negative in the
        training of backbones and plugins: it would be one in each step, and every other item would move, too.
        """
        known = int(self.sequences.items.max(initial=0))
        return self if known == self.n_items else replace(self, items=self.items[:known])

    @property
    def item_ids(self) -> np.ndarray:
        """Raw ids of items 1..I."""
        return self.items["item_id"].to_numpy(object)

    @cached_property
    def categories(self) -> sparse.csr_array | None:
        """1 where item j has category g, sparse `[I, G]` (float32); None if no item has a category."""
        found = ItemCategories.of(self.item_ids, self.items)
        return found.matrix if found else None

    @property
    def activeness(self) -> Int[np.ndarray, " U"]:
        """Number of training events of every user."""
        return np.asarray(self.split.train_end)

    @property
    def validation_users(self) -> Int[np.ndarray, " V"]:
        """Users with a validation target."""
        return np.flatnonzero(self.split.valid_at > 0)

    @property
    def test_users(self) -> Int[np.ndarray, " T"]:
        """Users with a test target."""
        return np.flatnonzero(self.split.test_at > 0)

    @property
    def newest_event(self) -> int:
        """Time of the newest event of all histories (ns, or its position where a log has no clock)."""
        return int(self.sequences.timestamps.max(initial=0))

    @property
    def first_target(self) -> int:
        """Time of the earliest test target (ns); the largest integer if there is none."""
        users = self.test_users
        targets = self.sequences.offsets[users] + self.split.test_at[users]
        return int(self.sequences.timestamps[targets].min(initial=np.iinfo(np.int64).max))

    @cached_property
    def sha256(self) -> str:
        """Hash of the indexed log: histories, times, and the raw ids of the items."""
        return self._hash()

    @cached_property
    def split_sha256(self) -> str:
        """Hash of the indexed log, of how it is split, and of the categories of its items if there are any."""
        split, known = self.split, self.categories
        more = () if known is None else (known.indices, known.indptr)
        parts = (split.train_end, split.valid_at, split.test_at, split.test_from)
        return self._hash(*parts, np.array(split.exclude_seen), *more)

    def _hash(self, *more: np.ndarray) -> str:
        digest = hashlib.sha256()
        for array in (self.sequences.items, self.sequences.timestamps, self.sequences.offsets, *more):
            digest.update(np.ascontiguousarray(array).reshape(-1).data)  # no copy: they may be larger than memory
        digest.update("\n".join(self.items["item_id"]).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        policy = "never recommended" if self.split.exclude_seen else "recommended again"
        return (
            f"Dataset({self.n_users:,} users, {self.n_items:,} items, {len(self.sequences.items):,} events; "
            f"{self.split.train_end.sum():,} events for training, {len(self.validation_users):,} validation and "
            f"{len(self.test_users):,} test targets; {len(self.strata.training)} strata; seen items are {policy})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (_by_file(self.sequences), _by_file(self.split), self.strata, self.items)


def build_dataset(
    events: pd.DataFrame,
    splitting: Splitting,
    exclude_seen: ExcludeSeen,
    stratification: Stratification,
    metadata: pd.DataFrame | None = None,
    without_events: bool = False,
) -> tuple[Dataset, pd.Index]:
    """The dataset of clean events, and the raw ids of users 0..U-1; as `dataset_of`."""
    return dataset_of(build_sequences(events), splitting, exclude_seen, stratification, metadata, without_events)


def dataset_of(
    indexed: Indexed,
    splitting: Splitting,
    exclude_seen: ExcludeSeen,
    stratification: Stratification,
    metadata: pd.DataFrame | None = None,
    without_events: bool = False,
) -> tuple[Dataset, pd.Index]:
    """The dataset of sequences with the raw ids of their users and items, and the raw ids of users 0..U-1.

    `metadata` has categories of items, if any; `without_events`: its items without events come after those of the log.

    The strata are fitted on the training part. Logged are the events that are no targets because their users know the
    item, and groups without a validation or a test target.
    """
    sequences, user_ids, item_ids = indexed
    split = split_sequences(sequences, splitting, exclude_seen)
    if split.repeated_valid or split.repeated_test:
        log.info(
            "Not used as targets: %s validation and %s test events, whose items are in the history of their users "
            "(exclude_seen)", f"{split.repeated_valid:,}", f"{split.repeated_test:,}",
        )  # fmt: skip
    strata = fit_strata(split.train_end, stratification)
    for kind, at in (("validation", split.valid_at), ("test", split.test_at)):
        if absent := strata.absent(split.train_end[at > 0]):
            log.warning("No user of %s has a %s target: these groups have no metrics.", ", ".join(absent), kind)
    if without_events:
        item_ids = item_ids.append(items_without_events(item_ids, no_items() if metadata is None else metadata))
    counts = split.item_counts(sequences, len(item_ids))
    items = pd.DataFrame({"item_id": item_ids.astype("string"), "training_events": counts})
    if metadata is not None and (listed := categories_of(items["item_id"], metadata)) is not None:
        items["categories"] = listed
    return Dataset(sequences, split, strata, items), user_ids


def _by_file(arrays: Sequences | Split) -> tuple[type, dict[str, Any]]:
    """The class and its values; a memory-mapped array is replaced by its file."""
    values = {f.name: getattr(arrays, f.name) for f in fields(arrays)}
    return type(arrays), {
        name: Path(value.filename) if isinstance(value, np.memmap) and value.filename else value
        for name, value in values.items()
    }


def _read(sequences: tuple[type, dict], split: tuple[type, dict], strata: ReportingStrata, items: Any) -> Dataset:
    """The dataset described by `__reduce__`."""
    return Dataset(_mapped(*sequences), _mapped(*split), strata, items)


def _mapped(kind: type, values: dict[str, Any]) -> Any:
    return kind(**{name: np.load(v, mmap_mode="r") if isinstance(v, Path) else v for name, v in values.items()})
