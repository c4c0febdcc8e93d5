"""The moving average that writes only the rows of a step equals the dense one."""

import pytest
import torch

from pinet_kedro.aggregation.moving_average import MovingAverage

GROUPS, ROWS, WIDTH = 3, 40, 4


def steps(count, touched=9, seed=0):
    """Rows and their gradients, with a common direction so that the average does not vanish."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(GROUPS, 1, WIDTH, generator=generator)
    for _ in range(count):
        rows = torch.randperm(ROWS, generator=generator)[:touched].sort().values
        yield rows, direction + torch.randn(GROUPS, touched, WIDTH, generator=generator)


def spread(rows, gradients):
    whole = torch.zeros(GROUPS, ROWS, WIDTH, dtype=gradients.dtype)
    whole[:, rows] = gradients
    return whole.flatten(1)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_rows_give_the_average_and_gramian_of_the_whole_table(decay):
    sparse, dense = MovingAverage(decay), MovingAverage(decay)
    for rows, gradients in steps(1500):  # the stored values are rescaled on the way
        found = sparse.update_rows(gradients, rows, ROWS)
        expected = dense.update(spread(rows, gradients).double())
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sparse.value.flatten(1).double(), dense.value, rtol=1e-4, atol=1e-6)


def test_dense_and_sparse_updates_can_alternate():
    mixed, dense = MovingAverage(0.9), MovingAverage(0.9)
    for n, (rows, gradients) in enumerate(steps(60)):
        whole = spread(rows, gradients)
        found = mixed.update(whole) if n % 3 == 0 else mixed.update_rows(gradients, rows, ROWS)
        torch.testing.assert_close(found, dense.update(whole), rtol=1e-4, atol=1e-5)


def test_first_step_is_the_average():
    [(rows, gradients)] = steps(1)
    average = MovingAverage(0.95)
    gramian = average.update_rows(gradients, rows, ROWS)
    assert torch.equal(average.value.flatten(1), spread(rows, gradients))
    torch.testing.assert_close(gramian, gradients.flatten(1) @ gradients.flatten(1).T)
