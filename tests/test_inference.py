"""Coverage of intervals by simulation, and planted cases."""

import numpy as np
import pytest

from normgrowth import inference
from normgrowth.inference import bootstrap_interval, moving_block_interval, t_interval

SIMULATIONS = 800


def covered(simulate, truth, simulations=SIMULATIONS) -> float:
    """Share of simulated intervals that hold the truth."""
    intervals = [simulate(np.random.default_rng(seed)) for seed in range(simulations)]
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def first(means):
    return means[..., 0]


@pytest.mark.parametrize(
    ("simulate", "truth"),
    [
        (lambda rng: t_interval(rng.normal(1, 2, 12)), 1),
        (lambda rng: bootstrap_interval(rng.normal(1, 2, (25, 1)), first, rng, resamples=1000), 1),
        (lambda rng: bootstrap_interval(rng.binomial(1, 0.7, (60, 1)), first, rng, resamples=500), 0.7),
        (lambda rng: moving_block_interval([rng.normal(0.1, 1, 150)], rng, resamples=1000), 15),
        (lambda rng: moving_block_interval([rng.normal(0.1, 1, 60) for _ in range(3)], rng, resamples=1000), 6),
    ],
    ids=["t", "bootstrap", "bootstrap of shares", "blocks", "blocks over orders"],
)
def test_nominal_95_percent_covers_93_to_97(simulate, truth):
    assert 0.93 <= covered(simulate, truth) <= 0.97


def autoregressive(rng, n, phi=0.5):
    noise, series = rng.normal(size=n + 50), np.zeros(n + 50)
    for i in range(1, n + 50):
        series[i] = phi * series[i - 1] + noise[i]
    return series[50:]


def test_blocks_cover_dependent_increments_where_single_increments_do_not():
    blocks = covered(lambda rng: moving_block_interval([autoregressive(rng, 400)], rng, resamples=1000), 0, 300)
    singles = covered(lambda rng: t_interval(autoregressive(rng, 400)), 0, 300)
    assert blocks >= 0.9 > 0.85 > singles


def test_block_length_follows_dependence():
    rng = np.random.default_rng(0)
    assert inference.block_length([rng.normal(size=500)]) <= 3
    assert inference.block_length([autoregressive(rng, 500, 0.8)]) >= 8
    assert inference.block_length([np.ones(50)]) == 1


def test_total_is_exact_and_constant_increments_leave_no_doubt():
    interval = moving_block_interval([np.full(40, 0.01)], np.random.default_rng(0))
    assert interval == pytest.approx((0.4, 0.4, 0.4, 40))


def test_short_or_broken_chains_have_no_bounds():
    rng = np.random.default_rng(0)
    assert not moving_block_interval([np.ones(3)], rng).bounded
    assert not moving_block_interval([np.append(np.ones(20), np.nan)], rng).bounded
    assert not moving_block_interval([], rng).bounded
    assert not t_interval([1.0]).bounded
    assert not bootstrap_interval(np.empty((0, 1)), first, rng).bounded


def test_missing_values_are_left_out_of_their_column_only():
    values = np.array([[1.0, np.nan], [3.0, 5.0]] * 20)
    means = inference.bootstrap_means(values, np.random.default_rng(0), 500)
    assert np.all(means[:, 1] == 5)
    assert means[:, 0].mean() == pytest.approx(2, abs=0.05)


def test_orders_do_not_average_the_spread_of_probes_away():
    one = inference.interval_over_orders([0.9], [0.1], 50)
    three = inference.interval_over_orders([0.9, 0.9, 0.9], [0.1, 0.1, 0.1], 50)
    apart = inference.interval_over_orders([0.8, 0.9, 1.0], [0.1, 0.1, 0.1], 50)
    assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.03)
    assert apart.high - apart.low > 3 * (one.high - one.low)


def test_same_seed_same_interval():
    values = np.random.default_rng(1).normal(size=(30, 1))
    a, b = (bootstrap_interval(values, first, np.random.default_rng(5)) for _ in range(2))
    assert a == b
