"""Estimates of gradient noise on gradients whose means and covariances are known."""

import numpy as np
import pytest
import torch

from pinet_kedro.studies.gradient_noise.estimate import GradientMoments, expected_cosine, users_needed

PARTS = {"body": 60, "items": 140}
USERS = np.array([13, 12, 40])
ANGLE = np.array([[1.0, -0.6, 0.0], [-0.6, 1.0, 0.7], [0.0, 0.7, 1.0]])  # cosines of the true gradients
NORM2 = np.array([1.0, 0.5, 2.0])
SCALE = np.array([400.0, 900.0, 2500.0])  # noise scales in users: a step's gradient is nearly all noise


def true_gradients():
    """Three rows with the norms and cosines above, their signal spread over both parts alike."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 3)))[0].T
    return torch.from_numpy(np.sqrt(NORM2)[:, None] * (np.linalg.cholesky(ANGLE) @ axes))


def measured(seed, blocks=8, rounds=25, common=0.0):
    """Moments of rounds in a linear model: a round's row is the truth and the mean noise of the stratum's users."""
    generator = torch.Generator().manual_seed(seed)
    truth = true_gradients()
    deviation = torch.from_numpy(np.sqrt(NORM2 * SCALE / USERS / truth.shape[1]))[:, None]
    moments = GradientMoments(3, PARTS, blocks)
    for block in np.repeat(np.arange(blocks), rounds):
        noise = deviation * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
        shared = common * torch.randn(1, truth.shape[1], generator=generator, dtype=torch.float64)
        moments.add(block, (truth + noise + shared).float())
    return moments.estimate(USERS)


@pytest.fixture(scope="module")
def repeated():
    """Sixty independent estimates of the whole."""
    return [measured(seed)["all"] for seed in range(60)]


TRUTH = {"squared_norm": NORM2, "trace": NORM2 * SCALE}


@pytest.mark.parametrize("name", TRUTH)
def test_estimates_are_unbiased(repeated, name):
    values = np.stack([getattr(estimate, name) for estimate in repeated])
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - TRUTH[name]) < 4 * error).all()


@pytest.mark.parametrize("name", ["squared_norm", "trace", "cosine", "step_cosine"])
def test_standard_error_is_the_deviation_of_repeated_estimates(repeated, name):
    pairs = np.triu_indices(3, 1) if name.endswith("cosine") else slice(None)
    values = np.stack([getattr(estimate, name)[pairs] for estimate in repeated])
    claimed = np.stack([getattr(estimate, f"{name}_error")[pairs] for estimate in repeated])
    # The jackknife's variance is an average over 8 blocks; over 60 repetitions both sides are known to some 10 %.
    np.testing.assert_allclose(np.sqrt((claimed**2).mean(0)), values.std(0, ddof=1), rtol=0.35)


def test_cosine_recovers_the_angle_where_that_of_a_step_is_near_zero():
    estimate = measured(0, rounds=200)["all"]
    assert np.abs(estimate.step_cosine[np.triu_indices(3, 1)]).max() < 0.05
    pairs = np.triu_indices(3, 1)
    assert (np.abs(estimate.cosine - ANGLE)[pairs] < 4 * estimate.cosine_error[pairs]).all()
    assert estimate.cosine_error[pairs].max() < 0.1


def test_noise_that_strata_share_within_a_round_is_no_agreement():
    """Sampled candidates are shared by all strata of a step."""
    estimate = measured(0, rounds=200, common=0.5)["all"]
    pairs = np.triu_indices(3, 1)
    assert (estimate.step_cosine[pairs] > 0.2).all()
    assert (np.abs(estimate.cosine - ANGLE)[pairs] < 4 * estimate.cosine_error[pairs]).all()


def test_norm_and_trace_of_the_parts_add_up():
    estimates = measured(1)
    for name in ("squared_norm", "trace"):
        whole, body, items = (getattr(estimates[part], name) for part in ("all", "body", "items"))
        np.testing.assert_allclose(whole, body + items, rtol=1e-6)


def test_pure_noise_has_an_infinite_scale_or_one_beyond_the_users_read():
    moments = GradientMoments(2, {"body": 50}, 4)
    generator = torch.Generator().manual_seed(0)
    for block in np.repeat(np.arange(4), 10):
        moments.add(block, torch.randn(2, 50, generator=generator))
    estimate = moments.estimate(np.array([5, 5]))["all"]
    assert (estimate.noise_scale > 40 * 5).all()
    assert (expected_cosine(np.array([np.inf]), np.array([5])) == 0).all()
    np.testing.assert_allclose(estimate.trace, 5 * 50, rtol=0.1)


def test_cosine_and_the_users_it_takes_are_inverse():
    np.testing.assert_allclose(expected_cosine(SCALE, users_needed(SCALE, 0.9)), 0.9)


def test_expected_cosine_is_that_of_a_round_with_the_truth():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(2000, generator=generator)
    noise = truth.norm() * (6.0 / 2000) ** 0.5 * torch.randn(200, 2000, generator=generator)  # B/n = 6
    cosine = torch.cosine_similarity(truth + noise, truth[None]).mean()
    assert cosine == pytest.approx(expected_cosine(np.array([6.0]), np.array([1.0]))[0], rel=0.02)
