"""Leave-one-out and a global cut in time, on examples by hand and as properties of random logs."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pinet_kedro.errors import InputError
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.interactions.split import ExcludeSeen, Splitting, split_sequences

EXCLUDE = ExcludeSeen(True)


def sequences_of(histories):
    """Sequences of lists of timestamps; items are numbered by position."""
    lengths = [len(h) for h in histories]
    return Sequences(
        items=np.concatenate([np.arange(1, n + 1) for n in lengths]).astype(np.int32),
        timestamps=np.concatenate(histories).astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def test_leave_one_out_holds_out_the_last_two():
    split = split_sequences(sequences_of([[1, 2, 3], [5, 5, 6, 7, 9]]), Splitting(), EXCLUDE)
    assert split.train_end.tolist() == [1, 3]
    assert split.valid_at.tolist() == [1, 3]
    assert split.test_at.tolist() == [2, 4]


def test_training_events_are_those_before_the_targets():
    sequences = sequences_of([[1, 2, 3], [5, 5, 6, 7, 9]])
    trained = split_sequences(sequences, Splitting(), EXCLUDE).in_training(sequences)
    assert trained.tolist() == [True, False, False, True, True, True, False, False]


def test_a_split_of_some_users_excludes_all_others():
    sequences = sequences_of([[1, 2, 3], [5, 5, 6, 7, 9]])
    split = split_sequences(sequences, Splitting(), EXCLUDE).only(np.array([False, True]))
    assert split.train_end.tolist() == [0, 3]
    assert split.valid_at.tolist() == [-1, 3]
    assert split.test_at.tolist() == [-1, 4]
    assert split.in_training(sequences).sum() == 3


def test_leave_one_out_of_two_events_is_an_input_error():
    with pytest.raises(InputError, match="needs 3 events per user"):
        split_sequences(sequences_of([[1, 2, 3], [1, 2]]), Splitting(), EXCLUDE)


def test_global_time_takes_the_first_event_after_each_cut():
    # 20 events at times 0..19: with shares of 0.2 the cuts are times 12 and 16.
    histories = [
        [0, 1, 2, 12, 13, 16, 17],  # both targets
        [3, 4, 5, 6],  # over before the first cut
        [7, 8, 14, 15],  # no test target
        [9, 10, 11, 18],  # no validation target
        [19],  # began after the cuts: neither
    ]
    assert sorted(np.concatenate(histories)) == list(range(20))
    rule = Splitting(rule="global_time", valid_share=0.2, test_share=0.2)
    split = split_sequences(sequences_of(histories), rule, EXCLUDE)
    assert split.train_end.tolist() == [3, 4, 2, 3, 0]
    assert split.valid_at.tolist() == [3, -1, 2, -1, -1]
    assert split.test_at.tolist() == [5, -1, -1, 3, -1]


def test_an_event_without_history_is_not_a_target():
    histories = [[12, 16], [*range(12), 13, 14, 15, 17, 18, 19]]
    split = split_sequences(
        sequences_of(histories), Splitting(rule="global_time", valid_share=0.2, test_share=0.2), ExcludeSeen(False)
    )
    assert split.train_end[0] == 0
    assert split.valid_at[0] == -1  # the event at 12 has nothing before it
    assert split.test_at[0] == 1  # the event at 16 has


@pytest.mark.parametrize("seed", range(5))
def test_targets_have_a_history_and_come_after_training_events(seed):
    rng = np.random.default_rng(seed)
    histories = [np.sort(rng.integers(0, 200, rng.integers(1, 15))) for _ in range(80)]
    sequences = sequences_of(histories)
    split = split_sequences(
        sequences, Splitting(rule="global_time", valid_share=0.2, test_share=0.1), ExcludeSeen(False)
    )
    trained = sequences.timestamps[split.in_training(sequences)].max()
    valid, test = (np.flatnonzero(at >= 0) for at in (split.valid_at, split.test_at))
    assert len(valid) > 5
    assert len(test) > 5
    assert (split.valid_at[valid] > 0).all()
    assert (split.test_at[test] > 0).all()
    valid_times = sequences.timestamps[sequences.offsets[valid] + split.valid_at[valid]]
    test_times = sequences.timestamps[sequences.offsets[test] + split.test_at[test]]
    assert trained < valid_times.min()
    assert valid_times.max() < test_times.min()
    both = np.intersect1d(valid, test)
    assert (split.train_end[both] <= split.valid_at[both]).all()
    assert (split.valid_at[both] < split.test_at[both]).all()


def test_log_without_time_is_an_input_error():
    with pytest.raises(InputError, match="no two distinct cuts"):
        split_sequences(sequences_of([[5, 5, 5], [5, 5]]), Splitting(rule="global_time"), EXCLUDE)


def repeating(items):
    """Sequences of lists of items, an event a second."""
    sequences = sequences_of([range(len(history)) for history in items])
    return Sequences(np.concatenate(items).astype(np.int32), sequences.timestamps, sequences.offsets)


def test_an_event_that_is_never_recommended_is_counted_and_is_not_a_target():
    sequences = repeating([[1, 2, 3, 4], [1, 2, 3, 1], [1, 2, 2, 3], [5, 5, 5, 5]])
    split = split_sequences(sequences, Splitting(), EXCLUDE)
    assert split.train_end.tolist() == [2, 2, 2, 2]
    assert split.valid_at.tolist() == [2, 2, -1, -1]
    assert split.test_at.tolist() == [3, -1, 3, -1]
    assert (split.exclude_seen, split.repeated_valid, split.repeated_test) == (True, 2, 2)


def test_if_seen_items_are_candidates_all_targets_stay():
    sequences = repeating([[1, 2, 3, 4], [5, 5, 5, 5]])
    split = split_sequences(sequences, Splitting(), ExcludeSeen(False))
    assert split.valid_at.tolist() == [2, 2]
    assert split.test_at.tolist() == [3, 3]
    assert (split.exclude_seen, split.repeated_valid, split.repeated_test) == (False, 0, 0)


@pytest.mark.parametrize("rule", ["leave_one_out", "global_time"])
def test_exactly_the_repeats_are_left_out(rule):
    rng = np.random.default_rng(3)
    histories = [rng.integers(1, 6, rng.integers(4, 12)) for _ in range(100)]
    sequences = repeating(histories)
    sequences = replace(sequences, timestamps=sequences.timestamps + 10**18)  # times, not positions
    rule = Splitting(rule=rule, valid_share=0.2, test_share=0.3)
    every, kept = (split_sequences(sequences, rule, ExcludeSeen(policy)) for policy in (False, True))
    for name in ("valid", "test"):
        before, after = getattr(every, f"{name}_at"), getattr(kept, f"{name}_at")
        repeats = [at >= 0 and history[at] in history[:at] for history, at in zip(histories, before, strict=True)]
        assert any(repeats)
        np.testing.assert_array_equal(after, np.where(repeats, -1, before))
        assert getattr(kept, f"repeated_{name}") == sum(repeats)


@pytest.mark.parametrize("value", ["no", 1, None, {}])
def test_the_policy_is_true_or_false(value):
    with pytest.raises(ValidationError):
        ExcludeSeen.model_validate(value)


def test_positions_in_each_history_are_no_times_to_cut_at():
    """The cuts would leave the longest histories alone as targets."""
    histories = [list(range(first, n)) for first, n in ((1, 6), (1, 9), (2, 40))]
    with pytest.raises(InputError, match=r"most histories begin at 1: positions in them .* leave_one_out"):
        split_sequences(sequences_of(histories), Splitting(rule="global_time"), EXCLUDE)
    assert split_sequences(sequences_of(histories), Splitting(), EXCLUDE).train_end.tolist() == [3, 6, 36]
    # Places in the whole log are an order that users share.
    split_sequences(sequences_of([[1, 3, 9, 11, 14, 20], [2, 4, 10, 15, 16]]), Splitting(rule="global_time"), EXCLUDE)
