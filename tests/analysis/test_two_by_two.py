"""Effects of norm and direction from the corners, and the sign-flip test over orders."""

import numpy as np
import pandas as pd
import pytest

from normgrowth.analysis.two_by_two import (
    Corners,
    effect_over_orders,
    log_perplexity,
    perplexity_at_efficacy,
    sign_flips,
)


def corners(unedited, norm, direction, edited):
    return Corners(*(np.array([value]) for value in (unedited, norm, direction, edited)))


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    found = Corners(*rng.normal(size=(4, 5, 7)))
    assert found.norm_effect + found.direction_effect == pytest.approx(found.whole)
    assert found.norm_effect + found.interaction / 2 == pytest.approx(found.edited - found.direction)
    assert found.direction_effect - found.interaction / 2 == pytest.approx(found.direction - found.unedited)


def test_what_only_one_of_them_does_is_its_effect_alone():
    norm_only = corners(2.0, 2.5, 2.0, 2.5)
    assert (norm_only.norm_effect, norm_only.direction_effect, norm_only.interaction) == (0.5, 0.0, 0.0)
    direction_only = corners(2.0, 2.0, 2.5, 2.5)
    assert (direction_only.norm_effect, direction_only.direction_effect) == (0.0, 0.5)
    together = corners(2.0, 2.0, 2.0, 2.5)
    assert (together.norm_effect, together.direction_effect, together.interaction) == (0.25, 0.25, 0.5)


def test_sign_flips_count_patterns():
    assert sign_flips(np.array([1.0, 2.0, 3.0])) == 1 / 8
    assert sign_flips(np.array([-1.0, 2.0, 3.0])) == 2 / 8
    assert sign_flips(np.zeros(4)) == 1.0
    assert sign_flips(np.full(8, 0.3)) == 1 / 256
    assert (
        2 * sign_flips(np.full(8, 0.3)) < 0.0125 < 2 * sign_flips(np.full(7, 0.3))
    )  # eight orders pass Holm over four


def test_many_orders_are_sampled():
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 1, 30)
    drawn = (rng.choice((1.0, -1.0), (100_000, 30)) @ values >= values.sum()).mean()
    assert sign_flips(values) == pytest.approx(drawn, abs=0.01)


@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform"])
def test_size_of_the_sign_flip_test(draw):
    """Under no effect a one-sided 2.5% test rejects 2.5% of the time or less, whatever the distribution."""
    rng = np.random.default_rng(1)
    simulated = [sign_flips(getattr(rng, draw)(*((-1, 1) if draw == "uniform" else (0, 1)), 8)) for _ in range(4000)]
    assert 0.015 <= np.mean(np.array(simulated) <= 0.025) <= 0.03


def over_orders(rng, effect, orders=8, windows=40):
    """An effect [orders, windows] with spread between orders, windows, and their pairs."""
    values = effect + rng.normal(0, 0.07, (orders, 1)) + rng.normal(0, 0.05, (1, windows))
    return values + rng.normal(0, 0.05, (orders, windows))


def test_coverage_of_the_interval():
    rng = np.random.default_rng(2)
    intervals = [effect_over_orders(over_orders(rng, 0.3)).interval for _ in range(1000)]
    assert 0.93 <= np.mean([interval.low <= 0.3 <= interval.high for interval in intervals]) <= 0.97


def test_both_tests_together_keep_their_size_and_see_an_effect():
    rng = np.random.default_rng(3)
    null = [effect_over_orders(over_orders(rng, 0.0)) for _ in range(2000)]
    assert np.mean([min(effect.p_above(0.0), effect.p_below(0.0)) <= 0.025 for effect in null]) <= 0.055
    seen = [effect_over_orders(over_orders(rng, 0.15)).p_above(0.0) <= 0.025 for _ in range(300)]
    assert np.mean(seen) > 0.9


def test_few_orders_are_judged_by_their_interval():
    values = over_orders(np.random.default_rng(4), 0.5, orders=3)
    assert effect_over_orders(values).p_above(0.0) < 1 / 8  # no three signs can say that


def rows_of(arms):
    """Rows of two orders; the second is listed first."""
    rows = []
    for order in (1, 0):
        for arm, (amount, es, loss) in arms.items():
            at = {"order": order, "step": 10, "arm": arm.split("-")[0], "amount": amount}
            windows = [loss + order, loss + order + 0.2]
            rows.append({**at, "metric": "log_perplexity", "value": np.mean(windows), "by_window": windows})
            rows.append({**at, "metric": "es", "value": es, "by_window": None})
    return pd.DataFrame(rows)


ARMS = {
    "unedited": (None, 0.2, 2.0),
    "norm": (None, 0.2, 2.1),
    "direction": (None, 1.0, 2.9),
    "edited": (None, 1.0, 3.0),
    "path-1": (0.25, 0.6, 2.1),
    "path-2": (0.5, 0.8, 2.3),
    "path-3": (0.75, 1.0, 2.7),
}


def test_corners_are_read_order_by_order_and_window_by_window():
    found = log_perplexity(rows_of(ARMS))
    assert found.edited.tolist() == pytest.approx(np.array([[3.0, 3.2], [4.0, 4.2]]))
    assert found.norm_effect == pytest.approx(np.full((2, 2), 0.1))


def test_perplexity_where_edits_are_known_well_enough():
    rows = rows_of(ARMS)
    one = rows[rows["order"] == 0]
    assert perplexity_at_efficacy(one) == pytest.approx(0.5)  # halfway from 2.3 to 2.7, over 2.0
    assert perplexity_at_efficacy(one, 1.1) is None
    assert perplexity_at_efficacy(one, 0.1) == 0.0
