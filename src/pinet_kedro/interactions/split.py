"""The split of histories into training, validation and test."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field, RootModel, StrictBool

from pinet_kedro.configuration import Configuration
from pinet_kedro.errors import InputError
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.reading.nanoseconds import CLOCK


class Splitting(Configuration):
    """Which events are held out as evaluation targets."""

    rule: Literal["leave_one_out", "global_time"] = "leave_one_out"
    valid_share: float = Field(0.1, gt=0, lt=0.5, description="global_time: share of all events between the two cuts")
    test_share: float = Field(0.1, gt=0, lt=0.5, description="global_time: share of all events after the second cut")


class NewerEvents(Splitting):
    """A split in time that holds out no event of `after` (ns) or before: a model has learnt those.

    If the shares would, the newer events are held out, divided in the proportion of the shares.
    """

    after: int


class ExcludeSeen(RootModel[StrictBool]):
    """The parameter `exclude_seen`: whether items in a user's history are never recommended to this user."""


@dataclass(frozen=True)
class Split:
    """Positions in each user's history (int64, U each); -1 if a user has no such target.

    Training uses events `[0, train_end)`. The validation target is the event at `valid_at`, with the events before
    it as history; the test target likewise. Events from `test_from` on belong to the test part, targets or not: a model
    that is judged on test targets has learnt none of them.

    `exclude_seen` is the policy under which the targets were chosen and are ranked. With True, items of the history are
    not candidates, so an event that repeats one is not a target (`repeated_valid` and `repeated_test` count these
    events). With False, they are candidates like all others.
    """

    train_end: Int[np.ndarray, " U"]
    valid_at: Int[np.ndarray, " U"]
    test_at: Int[np.ndarray, " U"]
    test_from: Int[np.ndarray, " U"]
    exclude_seen: bool = True
    repeated_valid: int = 0
    repeated_test: int = 0

    def only(self, users: Bool[np.ndarray, " U"]) -> "Split":
        """The split restricted to these users; all others are left out of training and evaluation."""
        return replace(
            self,
            train_end=np.where(users, self.train_end, 0),
            valid_at=np.where(users, self.valid_at, -1),
            test_at=np.where(users, self.test_at, -1),
            test_from=np.where(users, self.test_from, 0),
        )

    def learning(self, end: Int[np.ndarray, " U"]) -> "Split":
        """The split with all events `[0, end)` for training, without targets: of a model that has been validated."""
        nobody = np.full(len(end), -1)
        return replace(self, train_end=end, valid_at=nobody, test_at=nobody, test_from=end)

    def in_training(self, sequences: Sequences) -> Bool[np.ndarray, " N"]:
        """Mask of the training events."""
        return sequences.positions() < np.repeat(self.train_end, sequences.lengths)

    def training_pairs(self, sequences: Sequences) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
        """User and column (item − 1) of every training event, in the order of the sequences."""
        trained = self.in_training(sequences)
        user = np.repeat(np.arange(sequences.n_users), sequences.lengths)[trained]
        return user, sequences.items[trained].astype(np.int64) - 1

    def item_counts(self, sequences: Sequences, n_items: int) -> Int[np.ndarray, " I"]:
        """Number of training events of items 1..I."""
        counts = np.zeros(n_items, np.int64)
        for users, block in sequences.blocks():
            trained = block.positions() < np.repeat(self.train_end[users], block.lengths)
            counts += np.bincount(block.items[trained], minlength=n_items + 1)[1:]
        return counts


def split_sequences(sequences: Sequences, config: Splitting, exclude_seen: ExcludeSeen) -> Split:
    """The split of all histories.

    Leave-one-out: a user's last event is the test target, the one before it the validation target. Global time: the
    targets are a user's first events after each of two cuts. An event without a history before it is not a target,
    since nothing personal can be predicted; nor is an item that `exclude_seen` never recommends. Raises `InputError` if
    no test target remains.
    """
    split = _split(sequences, config)
    split = without_repeats(sequences, split) if exclude_seen.root else replace(split, exclude_seen=False)
    if not (split.test_at > 0).any():
        raise InputError(
            f"splitting.rule = {config.rule} leaves no test target: no user has a history before the held-out events, "
            f"or all of them repeat items that exclude_seen never recommends ({split.repeated_test:,} do). Raise "
            "splitting.test_share, use splitting.rule = leave_one_out, or set exclude_seen: false."
        )
    return split


def without_repeats(sequences: Sequences, split: Split) -> Split:
    """The split without targets whose item is in the history before them; the fields `repeated_…` count these."""
    valid, test = (_repeated(sequences, at) for at in (split.valid_at, split.test_at))
    return replace(
        split,
        valid_at=np.where(valid, -1, split.valid_at),
        test_at=np.where(test, -1, split.test_at),
        exclude_seen=True,
        repeated_valid=int(valid.sum()),
        repeated_test=int(test.sum()),
    )


def _repeated(sequences: Sequences, at: Int[np.ndarray, " U"]) -> Bool[np.ndarray, " U"]:
    """Whether the item at this position (-1: none) of a user's history is also before it."""
    found = np.zeros(len(at), bool)
    for users, block in sequences.blocks():
        lengths, here = block.lengths, at[users]
        target = np.where(here >= 0, block.items[block.offsets[:-1] + np.maximum(here, 0)], 0)
        again = (block.items == np.repeat(target, lengths)) & (block.positions() < np.repeat(here, lengths))
        found[users] = np.bincount(np.repeat(np.arange(len(here)), lengths)[again], minlength=len(here)) > 0
    return found


def _split(sequences: Sequences, config: Splitting) -> Split:
    lengths = sequences.lengths
    if config.rule == "leave_one_out":
        if lengths.min(initial=3) < 3:
            raise InputError(
                f"leave-one-out needs 3 events per user (train, validation, test); the shortest history has "
                f"{lengths.min()}. Set cleaning.min_user_events to at least 3."
            )
        return Split(train_end=lengths - 2, valid_at=lengths - 2, test_at=lengths - 1, test_from=lengths - 1)
    ordered = np.sort(sequences.timestamps)
    valid_from, test_from = _first_held_out(ordered, config)
    valid_cut, test_cut = ordered[[valid_from, test_from]]
    begin, why = sequences.timestamps[sequences.offsets[:-1][lengths > 0]], ""
    if ordered[0] == valid_cut or valid_cut == test_cut:
        why = f"no two distinct cuts (at {valid_cut} and {test_cut}): too many events have the same timestamp"
    elif ordered[-1] < CLOCK and (begin == ordered[0]).mean() > 0.5:  # cleaning may drop the first of some
        why = f"that most histories begin at {ordered[0]}: positions in them (timestamp_unit=order), and not times"
    if why:
        raise InputError(f"splitting.rule = global_time finds {why}. Use splitting.rule = leave_one_out.")

    def events_before(cut: int) -> np.ndarray:
        counts = np.zeros(sequences.n_users, np.int64)
        for users, block in sequences.blocks():
            before = np.concatenate([[0], np.cumsum(block.timestamps < cut)])
            counts[users] = before[block.offsets[1:]] - before[block.offsets[:-1]]
        return counts

    train_end, test_at = events_before(valid_cut), events_before(test_cut)
    valid = np.where((train_end < test_at) & (train_end > 0), train_end, -1)
    test = np.where((test_at < lengths) & (test_at > 0), test_at, -1)
    return Split(train_end=train_end, valid_at=valid, test_at=test, test_from=test_at)


def _first_held_out(ordered: Int[np.ndarray, " N"], config: Splitting) -> tuple[int, int]:
    """Where the validation and the test part begin among the events in the order of time."""
    events = len(ordered)
    valid_from = int(events * (1 - config.valid_share - config.test_share))
    if isinstance(config, NewerEvents):
        newer = min(int(np.searchsorted(ordered, config.after, side="right")), events - 1)
        if newer > valid_from:
            share = config.valid_share / (config.valid_share + config.test_share)
            return newer, newer + int((events - newer) * share)
    return valid_from, int(events * (1 - config.test_share))
