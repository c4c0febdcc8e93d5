"""Shares of columns: every number is of one process, and Gramians of the shares add up."""

import pytest
import torch

from pinet_kedro.aggregation.columns import Columns

# A scalar, fewer columns than processes, a table, and a tensor of three dimensions.
SHAPES = [(), (3,), (2, 3), (50, 8), (2, 3, 5)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_number_is_of_one_process(count):
    columns = Columns(SHAPES, count)
    tensors = [torch.randn(shape) for shape in SHAPES]
    found = torch.cat([part.flatten() for part in columns.split(tensors)])
    assert sum(columns.numbers) == len(found)
    assert torch.equal(found.sort()[0], torch.cat([t.flatten() for t in tensors]).sort()[0])


@pytest.mark.parametrize("count", [2, 3])
def test_parts_of_a_row_are_parts_of_its_tensors(count):
    columns = Columns(SHAPES, count)
    parts = columns.split([torch.randn(shape) for shape in SHAPES])
    for rank, start in enumerate(range(0, len(parts), len(SHAPES))):
        own = parts[start : start + len(SHAPES)]
        row = torch.cat([part.flatten() for part in own])
        again = columns.parts(rank, row)
        assert all(torch.equal(a, b) for a, b in zip(again, own, strict=True))


def test_a_process_has_the_same_columns_whichever_rows_a_table_has():
    table = torch.randn(50, 8)
    rows = torch.tensor([3, 7, 40])
    whole, few = Columns([table.shape], 3), Columns([(3, 8)], 3)
    for of_all, of_few in zip(whole.split([table]), few.split([table[rows]]), strict=True):
        assert torch.equal(of_all[rows], of_few)
