"""A sparse memory of transitions between items: which items follow which."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from pinet_kedro.dataset import Dataset
from pinet_kedro.interactions.sequences import Sequences
from pinet_kedro.plugins.config import MemoryConfig

# Pairs of events per block: about 50 bytes each.
_PAIRS = 2**20


@dataclass(frozen=True)
class TransitionMemory:
    """M = C^-½ (N + ρ Nᵀ) C^-½ over items 1..I, sparse: the `neighbours` largest entries of every row.

    N_ij = Σ_k k^-e #{j comes k events after i}, C = number of training events + 1 (diagonal). The score of item j is
    (r_u M)_j, with the weights decay^age of the user's newest items in r_u.
    """

    matrix: sparse.csr_array
    config: MemoryConfig

    def recall(self, histories: Int[np.ndarray, "B L"]) -> sparse.csr_array:
        """(r_u M)_j `[B, I]` for left-padded histories; sparse, since most items never follow those of a history."""
        newest = histories[:, -self.config.window :]
        weight = self.config.decay ** np.arange(newest.shape[1])[::-1]
        row, column = np.nonzero(newest)
        index = self.matrix.indices.dtype  # otherwise scipy would convert M to wider integers at every call
        place = row.astype(index), newest[row, column].astype(index) - 1
        shape = (len(newest), self.matrix.shape[0])
        r = sparse.csr_array((weight[column].astype(np.float32), place), shape=shape)
        return r @ self.matrix

    @staticmethod
    def strongest(recalled: sparse.csr_array, n: int) -> Int[np.ndarray, "B N"]:
        """Columns (0..I-1) of the n items with the largest scores in what `recall` gave; −1 where it has fewer."""
        kept = _strongest(recalled, n)
        counts = np.diff(kept.indptr)
        row = np.repeat(np.arange(len(counts)), counts)
        found = np.full((len(counts), n), -1, np.int64)
        found[row, np.arange(len(row)) - kept.indptr[row]] = kept.indices
        return found

    def strongest_source(
        self, histories: Int[np.ndarray, "B L"], items: Int[np.ndarray, "B K"]
    ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
        """For each of K items of B users, the item of the history that adds most to (r_u M)_j, and its share of that.

        Of equal ones, the lowest. Item 0 and share 0 where the history adds nothing.
        """
        found, share = np.zeros(items.shape, np.int64), np.zeros(items.shape)
        newest = histories[:, -self.config.window :]
        weight = self.config.decay ** np.arange(newest.shape[1])[::-1]
        user, age = np.nonzero(newest)
        if items.size == 0 or len(user) == 0:
            return found, share
        ids = self.matrix.shape[0] + 1
        keys, place = np.unique(user * ids + newest[user, age], return_inverse=True)
        users, sources = np.divmod(keys, ids)
        row, column = np.broadcast_arrays(sources[:, None] - 1, items[users] - 1)
        entries = self.matrix[row.ravel(), column.ravel()].reshape(row.shape)
        parts = entries * np.bincount(place, weight[age])[:, None]
        present, start = np.unique(users, return_index=True)
        most, total = np.maximum.reduceat(parts, start), np.add.reduceat(parts, start)
        is_most = parts == np.repeat(most, np.diff(np.append(start, len(keys))), axis=0)
        first = np.minimum.reduceat(np.where(is_most, np.arange(len(keys))[:, None], len(keys)), start)
        found[present] = np.where(total > 0, sources[first], 0)
        share[present] = np.divide(most, total, out=np.zeros_like(most), where=total > 0)
        return found, share


def build_memory(dataset: Dataset, config: MemoryConfig) -> TransitionMemory:
    """The memory of the training part.

    Rows are completed and truncated one range of items at a time. So only the result, the events and `_PAIRS` pairs of
    events are in memory, and at most one row of M is dense. Entries are summed in float64 and truncated when they are
    complete, so the remaining entries equal those without a limit.

    Effect of a lower limit on NDCG@10 if the memory is the only personal scorer (tests/benchmarks/memory.py), relative
    to 2000, which truncates nothing here: MovieLens-100k (.1193) +0.5 % at 500, −1.3 % at 200, +0.8 % at 100, −3.1 % at
    50; Amazon Beauty (.0555) −0.1 % at 500. One run each, no intervals.
    """
    n_items = dataset.n_items
    _, items = dataset.split.training_pairs(dataset.sequences)
    scale = (np.bincount(items, minlength=n_items) + 1.0) ** -0.5
    done: list[sparse.csr_array] = []
    for first, rows in _transitions(items.astype(np.int32), dataset.split.train_end, n_items, config):
        rows = rows.tocsc().tocsr()  # sorts the columns in linear time
        row = first + np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        rows.data = (rows.data * scale[row] * scale[rows.indices]).astype(np.float32)
        done.append(_strongest(rows, config.neighbours))
    return TransitionMemory(sparse.vstack(done, format="csr"), config)


def update_memory(
    memory: TransitionMemory,
    known: Sequences,
    now: Sequences,
    counts: tuple[Int[np.ndarray, " I"], Int[np.ndarray, " I"]],
) -> TransitionMemory:
    """The memory after some histories have changed from `known` to `now`: what `build_memory` would make of all.

    `known` and `now` have the same users in the same order; each history `now` contains the one known. `counts` are the
    numbers of training events of items 1..I before and after. With S = N + ρ Nᵀ, S' = C^½ M C^½ + S_now − S_known, and
    M' = C'^-½ S' C'^-½; users whose histories stay have no part in the difference. Only the events from `max_lag`
    before a history's first change are counted, so the cost is that of the new events, plus scaling M. Equal to
    `build_memory` but for rounding, and for entries that an earlier limit of `neighbours` has dropped.
    """
    config, matrix = memory.config, memory.matrix
    before, after = ((count + 1.0) ** 0.5 for count in counts)
    start = np.maximum(_first_change(known, now) - config.max_lag, 0)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    scaled = matrix.data * before[row] * before[matrix.indices]
    total = sparse.csr_array((scaled, matrix.indices, matrix.indptr), matrix.shape)
    for histories, sign in ((now, 1), (known, -1)):
        changed = histories.between(start, histories.lengths)
        pairs = _transitions(changed.items - np.int32(1), changed.lengths, matrix.shape[0], config)
        total = total + sign * sparse.vstack([rows for _, rows in pairs], format="csr")
    total.sort_indices()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(total.indptr))
    # Float32 in M leaves residues of this relative size where a sum becomes 0.
    kept = total.data > 1e-6
    data = (total.data / (after[row] * after[total.indices])).astype(np.float32)[kept]
    shape = (data, total.indices[kept].astype(np.int32), _offsets(np.bincount(row[kept], minlength=matrix.shape[0])))
    return TransitionMemory(_strongest(sparse.csr_array(shape, matrix.shape), config.neighbours), config)


def _first_change(known: Sequences, now: Sequences) -> Int[np.ndarray, " U"]:
    """Position of the first event of each history `now` that differs from `known`; the known length if none does."""
    position = known.positions()
    user = np.repeat(np.arange(known.n_users), known.lengths)
    at = now.offsets[user] + position
    differs = (now.items[at] != known.items) | (now.timestamps[at] != known.timestamps)
    first = known.lengths.copy()
    np.minimum.at(first, user[differs], position[differs])
    return first


def _transitions(
    items: Int[np.ndarray, " T"], lengths: Int[np.ndarray, " U"], n_items: int, config: MemoryConfig
) -> Iterator[tuple[int, sparse.csr_array]]:
    """Ranges of rows of N + ρ Nᵀ (float64, columns unordered), each with its first row.

    `items` has the training events of all users, `lengths` per user. Row i sums, over the events of item i, the weights
    of the events up to `max_lag` after it, and ρ times those before it: a product of two sparse matrices, items x their
    events x items.
    """
    index = np.int32 if len(items) + config.max_lag < 2**31 else np.int64
    place = items.astype(index), np.arange(len(items), dtype=index)
    by_item = sparse.csr_array((np.ones(len(items), bool), place), (n_items, len(items)))
    events, start = by_item.indices, by_item.indptr
    ends = np.cumsum(lengths)
    # Bounds of the user's events, for each event.
    begin, stop = (np.repeat(at.astype(index), lengths) for at in (ends - lengths, ends))
    lags: np.ndarray = np.arange(1, config.max_lag + 1).astype(index)
    weights = lags.astype(np.float64) ** -config.lag_exponent
    lags, weights = np.concatenate([lags, -lags]), np.concatenate([weights, config.reverse * weights])
    lags, weights = lags[weights > 0], weights[weights > 0]
    size = max(_PAIRS // len(lags), 1)
    first, begun = 0, sparse.csr_array((0, n_items))  # the sum so far of the row that is not complete
    for low in range(0, len(events), size):
        event = events[low : low + size]
        last = np.searchsorted(start, low + len(event), side="left") - 1  # row of the last event
        at = event[:, None] + lags
        inside = (at >= begin[event, None]) & (at < stop[event, None])
        near = np.broadcast_to(weights, at.shape)[inside], items[at[inside]], _offsets(inside.sum(1))
        summed = sparse.vstack([begun, sparse.csr_array(near, (len(event), n_items))], format="csr")
        own = np.clip(start[first : last + 2] - low, 0, len(event)) + begun.shape[0]
        own[0] = 0
        shape = len(own) - 1, summed.shape[0]
        rows = sparse.csr_array((np.ones(shape[1]), np.arange(shape[1], dtype=own.dtype), own), shape) @ summed
        complete = shape[0] - int(start[last + 1] > low + len(event))
        yield first, rows[:complete]
        first, begun = first + complete, rows[complete:]
    yield first, sparse.csr_array((n_items - first, n_items))


def _strongest(rows: sparse.csr_array, limit: int) -> sparse.csr_array:
    """The `limit` largest entries of every row (positive float32); of equal entries, those of lower items."""
    counts = np.diff(rows.indptr)
    if counts.max(initial=0) <= limit:
        return rows
    row = np.repeat(np.arange(len(counts)), counts)
    # The bits of positive floats have the order of the floats, so sorting integers of row and bits sorts every row.
    weakness = np.int64(2**31 - 1) - rows.data.view(np.int32)
    ordered = np.sort(row << 31 | weakness)
    kth = np.full(len(counts), 2**31 - 1)
    long = counts > limit
    kth[long] = ordered[rows.indptr[:-1][long] + limit - 1] & (2**31 - 1)
    above, equal = weakness < kth[row], weakness == kth[row]
    room = limit - np.bincount(row[above], minlength=len(counts))
    nth = np.cumsum(equal) - _offsets(np.bincount(row[equal], minlength=len(counts)))[row]
    kept = above | (equal & (nth <= room[row]))
    indptr = _offsets(np.bincount(row[kept], minlength=len(counts)))
    return sparse.csr_array((rows.data[kept], rows.indices[kept], indptr), rows.shape)


def _offsets(counts: Int[np.ndarray, " R"]) -> Int[np.ndarray, " R+1"]:
    offsets = np.zeros(len(counts) + 1, np.int32)  # 32 bits, so that scipy keeps the columns in 32 bits too
    np.cumsum(counts, out=offsets[1:])
    return offsets
