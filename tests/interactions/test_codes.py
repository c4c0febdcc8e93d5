"""Integers for ids: the same results as pandas on the values, for all types, gaps and ranges."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinet_kedro.interactions.codes import encode, repeated

IDS = [
    pd.Series(["b", "a", None, "b", "ä", "a"], dtype="string"),
    pd.concat([pd.Series(list("ab"), dtype="string"), pd.Series(list("cab"), dtype="string")]),
    pd.Series(["b", "a", None, "b"], dtype="str"),
    pd.Series(["b", "a", "b"], dtype=object),
    pd.Series([3, None, 3, 1], dtype="Int64"),
    pd.Series([], dtype="string"),
    pd.Series([None, None], dtype="string"),
]


@pytest.mark.parametrize("ids", IDS, ids=range(len(IDS)))
def test_ids_are_numbered_as_pandas_numbers_them(ids):
    codes, distinct = encode(ids)
    expected, uniques = pd.factorize(ids.array)
    np.testing.assert_array_equal(codes, expected)
    assert list(distinct) == list(uniques)


INTEGERS = st.one_of(st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1))


@pytest.mark.parametrize("keep", ["first", False])
@given(st.lists(st.tuples(INTEGERS, INTEGERS, st.integers(0, 1)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_repeated_rows_are_those_that_pandas_finds(keep, rows):
    frame = pd.DataFrame(np.array(rows + rows[:3], dtype=np.int64).reshape(-1, 3))
    columns = [frame[name].to_numpy() for name in frame]
    np.testing.assert_array_equal(repeated(columns, keep), frame.duplicated(keep=keep).to_numpy())
