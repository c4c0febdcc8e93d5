import pytest
import torch

from pinet_kedro.aggregation.config import ConsensusConfig
from pinet_kedro.aggregation.consensus import Consensus

SIZES = [3, 4]


def by_hand(block):
    """The formula, one stratum after the other."""
    cosine = lambda x, y: float(x @ y / (x.norm() * y.norm()))  # noqa: E731
    kept = [a for a in range(len(block)) if cosine(block[a], block.mean(0)) > 0]
    agreement = torch.tensor([sum(cosine(block[a], block[b]) for b in kept) for a in kept])
    return sum(w * block[a] for w, a in zip(agreement.softmax(0), kept, strict=True)), len(kept)


@pytest.mark.parametrize("seed", range(20))
def test_every_tensor_follows_the_formula(seed):
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))
    found = Consensus(ConsensusConfig(), SIZES)(matrix)
    expected = torch.cat([by_hand(block)[0] for block in matrix.split(SIZES, 1)])
    torch.testing.assert_close(found, expected)


def test_a_step_does_not_remember_the_one_before():
    first, second = (torch.randn(5, 7, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    rule = Consensus(ConsensusConfig(), SIZES)
    rule(first)
    torch.testing.assert_close(rule(second), Consensus(ConsensusConfig(), SIZES)(second))


def test_noise_replaces_exactly_the_tensors_that_most_strata_oppose():
    opposed = torch.tensor([[9.0, 0, 0], [-1, 0.1, 0], [-1, 0, 0.1]])  # the mean follows the first row alone
    agreed = torch.ones(3, 4)
    matrix = torch.cat([opposed, agreed], 1)
    assert by_hand(opposed)[1] == 1
    kept = Consensus(ConsensusConfig(), SIZES)(matrix)
    noisy = ConsensusConfig(opposed="noise")
    drawn = (Consensus(noisy, SIZES, rng=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    one, again, other = (rule(matrix) for rule in drawn)
    torch.testing.assert_close(kept[:3], opposed[0])
    torch.testing.assert_close(one[3:], torch.ones(4))
    assert torch.equal(one, again)
    assert not torch.equal(one[:3], other[:3])
    assert one[:3].abs().max() < 0.05
