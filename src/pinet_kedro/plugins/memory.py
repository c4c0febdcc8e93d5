"""What items follow which: a sparse transition memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy import sparse

from pinet_kedro.dataset import Dataset
from pinet_kedro.plugins.config import MemoryConfig

# Pairs of events looked at a time: some 50 bytes each.
_PAIRS = 2**20


@dataclass(frozen=True)
class TransitionMemory:
    """M = C^-½ N C^-½ over items 1..I, sparse, with N_ij = Σ_k k^-e #{i, then j, k events later} + ρ Nᵀ and
    C = count + 1; of every row the `neighbours` largest entries; read with r_u, the newest items of a user weighted
    decay^age."""

    matrix: sparse.csr_array
    config: MemoryConfig

    def recall(self, histories: Int[np.ndarray, "B L"]) -> sparse.csr_array:
        """(r_u M)_j `[B, I]` for left-padded histories, sparse: most items of a large catalogue follow none."""
        newest = histories[:, -self.config.window :]
        weight = self.config.decay ** np.arange(newest.shape[1])[::-1]
        row, column = np.nonzero(newest)
        index = self.matrix.indices.dtype  # of wider integers scipy would make M, too, at every call
        place = row.astype(index), newest[row, column].astype(index) - 1
        shape = (len(newest), self.matrix.shape[0])
        r = sparse.csr_array((weight[column].astype(np.float32), place), shape=shape)
        return r @ self.matrix


def build_memory(dataset: Dataset, config: MemoryConfig) -> TransitionMemory:
    """The memory of the training part.

    Rows are finished and cut a range of items at a time, so that beside the result only the events themselves and
    `_PAIRS` pairs of them are in memory, and no more than a row of M can be dense. Entries are summed in float64 and
    cut after they are complete: those that stay are what they are without a limit.

    What a lower limit costs where the memory is all that is personal (tests/benchmarks/memory.py), NDCG@10 against
    2000, which cuts nothing there: MovieLens-100k (.1193) +0.5 % at 500, −1.3 % at 200, +0.8 % at 100, −3.1 % at 50;
    Amazon Beauty (.0555) −0.1 % at 500. One run each, no intervals.
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


def _transitions(
    items: Int[np.ndarray, " T"], lengths: Int[np.ndarray, " U"], n_items: int, config: MemoryConfig
) -> Iterator[tuple[int, sparse.csr_array]]:
    """Ranges of rows of N + ρ Nᵀ (float64, columns unordered), each with its first row, from users' training events in
    one run each.

    Row i sums, over the events of item i, the weights of the events up to `max_lag` after it, and those before it
    times ρ. That is a product of two sparse matrices, items x their events x items.
    """
    index = np.int32 if len(items) + config.max_lag < 2**31 else np.int64
    place = items.astype(index), np.arange(len(items), dtype=index)
    by_item = sparse.csr_array((np.ones(len(items), bool), place), (n_items, len(items)))
    events, start = by_item.indices, by_item.indptr
    ends = np.cumsum(lengths)
    begin, stop = (np.repeat(at.astype(index), lengths) for at in (ends - lengths, ends))  # of the run of each event
    lags: np.ndarray = np.arange(1, config.max_lag + 1).astype(index)
    weights = lags.astype(np.float64) ** -config.lag_exponent
    lags, weights = np.concatenate([lags, -lags]), np.concatenate([weights, config.reverse * weights])
    lags, weights = lags[weights > 0], weights[weights > 0]
    size = max(_PAIRS // len(lags), 1)
    first, begun = 0, sparse.csr_array((0, n_items))  # sum over the events until now of the row that is not complete
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
    """The `limit` largest entries of every row (positive float32); of equal ones at the limit, the lower items."""
    counts = np.diff(rows.indptr)
    if counts.max(initial=0) <= limit:
        return rows
    row = np.repeat(np.arange(len(counts)), counts)
    # The bits of positive floats are ordered as the floats are: sorting integers of row and bits sorts every row.
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
    offsets = np.zeros(len(counts) + 1, np.int32)  # of parts; with 64 bits the columns would take as many
    np.cumsum(counts, out=offsets[1:])
    return offsets
