"""Bootstrap intervals by simulation, corrections for many tests, and planted cases."""

import numpy as np
import pytest

from normgrowth.analysis import intervals
from normgrowth.analysis.effects import bootstrapped
from normgrowth.analysis.intervals import holm, median_time, two_sided_p


def first(means):
    return means[..., 0]


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng: rng.normal(1, 2, (25, 1)), 1),
        (lambda rng: rng.binomial(1, 0.7, (60, 1)), 0.7),
    ],
    ids=["bootstrap", "bootstrap of shares"],
)
def test_nominal_95_percent_covers_93_to_97(draw, truth):
    generators = [np.random.default_rng(seed) for seed in range(500)]
    intervals = [bootstrapped(draw(rng), first, rng).interval for rng in generators]
    assert 0.93 <= np.mean([interval.low <= truth <= interval.high for interval in intervals]) <= 0.97


def test_no_units_have_no_bounds():
    assert not bootstrapped(np.empty((0, 1)), first, np.random.default_rng(0)).bounded


def test_missing_values_are_left_out_of_their_column_only():
    values = np.array([[1.0, np.nan], [3.0, 5.0]] * 20)
    means = intervals.bootstrap_means(values, np.random.default_rng(0), 500)
    assert np.all(means[:, 1] == 5)
    assert means[:, 0].mean() == pytest.approx(2, abs=0.05)


def test_same_seed_same_interval():
    values = np.random.default_rng(1).normal(size=(30, 1))
    a, b = (bootstrapped(values, first, np.random.default_rng(5)).interval for _ in range(2))
    assert a == b


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
