"""How different the items of one list are, by their categories."""

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

_PAIRS = 2**20  # per block: about 100 bytes each


def category_diversity(top: Int[np.ndarray, "U K"], categories: sparse.csr_array) -> Float[np.ndarray, " U"]:
    """Mean distance of the categories of two items in a list of items 1..I; `categories` has ones `[I, G]`.

        ILD = Σ_{i<j} d(A_i, A_j) / #{pairs i<j},    d(A, B) = 1 − |A ∩ B| / |A ∪ B| (Jaccard)

    0 where all items have the same categories, 1 where no two of them share one. It is the mean dissimilarity of all
    pairs of Smyth and McClave (ICCBR 2001), and one minus the mean of the similarity that Ziegler et al. (WWW 2005) sum
    up; RecTools' `IntraListDiversity` with this distance. An item without categories has no distance and is left out;
    a list with fewer than two others is NaN.
    """
    size = np.append(0, np.diff(categories.indptr))[top]
    one, other = np.triu_indices(top.shape[1], 1)
    known = (size[:, one] > 0) & (size[:, other] > 0)
    total = np.zeros(len(top))
    block = max(1, _PAIRS // max(len(one), 1))
    for start in range(0, len(top), block):
        part = slice(start, start + block)
        row, pair = np.nonzero(known[part])
        first, second = one[pair], other[pair]
        items, sizes = top[part], size[part]
        shared = (categories[items[row, first] - 1] * categories[items[row, second] - 1]).sum(axis=1)
        both = sizes[row, first] + sizes[row, second] - shared
        total[part] = np.bincount(row, 1 - shared / both, minlength=len(items))
    pairs = known.sum(axis=1)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
