"""Coverage of intervals by simulation, and planted cases."""

import numpy as np
import pytest

from normgrowth import inference
from normgrowth.inference import (
    bootstrap_interval,
    holm,
    median_time,
    moving_block_interval,
    rank_correlation,
    t_interval,
    two_sided_p,
)

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


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_rank_correlation_covers(rho):
    """Of normal pairs with correlation r, Spearman's is 6 / pi asin(r / 2)."""

    def simulate(rng):
        x = rng.normal(size=30)
        return rank_correlation(x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=30))

    assert 0.93 <= covered(simulate, 6 / np.pi * np.arcsin(rho / 2)) <= 0.97


def test_rank_correlation_of_known_cases():
    x = np.arange(8.0)
    assert rank_correlation(x, np.exp(x)).estimate == pytest.approx(1)
    assert rank_correlation(x, -(x**3)).estimate == pytest.approx(-1)
    assert rank_correlation([*x, np.nan], [*x, 0.0]).n == 8
    assert rank_correlation(x, [*x[:-1], np.inf]).estimate == pytest.approx(1)
    assert not rank_correlation(x[:4], x[:4]).bounded and not rank_correlation(x, np.ones(8)).bounded


def test_holm_is_bonferroni_step_by_step():
    assert holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_no_difference_has_uniform_p_values():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(1, 2000)) + rng.normal(size=(4000, 2000))
    assert (two_sided_p(draws) < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert two_sided_p(np.full((100, 1), 3.0)) == pytest.approx(0.01)


def test_median_time_with_censoring():
    assert median_time([10, 20, 30], [True, True, True]).estimate == 20
    assert median_time([10, 60, 60], [True, False, False]).estimate == np.inf
    assert median_time([10, 20, 60], [True, True, False]).estimate == 20
    whole = median_time(range(1, 41), [True] * 40)
    assert whole.low <= 20 <= whole.high and whole.n == 40
    assert median_time([], []).n == 0
