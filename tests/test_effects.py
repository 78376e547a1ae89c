"""Coverage of intervals and size of tests by simulation, with truth planted in orders, windows, facts and calls."""

import numpy as np
import pytest

from normgrowth import effects
from normgrowth.claims.performance import trend_p
from normgrowth.claims.verdict import DOWN, UP, Rule, Verdict, corrected, decide
from normgrowth.measure.activations import Where, compare_norms

torch = pytest.importorskip("torch")

SIMULATIONS = 1000
NOMINAL = (0.93, 0.97)


def covered(simulate, truth, simulations=SIMULATIONS) -> float:
    """Share of simulated intervals that hold the truth."""
    rng = np.random.default_rng(0)
    intervals = [simulate(rng).interval for _ in range(simulations)]
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def windows_in_orders(rng, orders, windows=90, between=0.08, within=0.2, together=0.1):
    """Changes of log perplexity [orders, windows] around 1: both orders and windows differ, and so do their pairs."""
    values = 1 + rng.normal(0, between, (orders, 1)) + rng.normal(0, within, (1, windows))
    return values + rng.normal(0, together, (orders, windows))


@pytest.mark.parametrize("orders", [1, 3, 8])
def test_intervals_over_windows_and_orders_cover(orders):
    """Of one order the interval is about that order: its own effect is the truth."""
    between = 0.08 if orders > 1 else 0.0
    share = covered(lambda rng: effects.crossed(windows_in_orders(rng, orders, between=between)), 1)
    assert NOMINAL[0] <= share <= NOMINAL[1]


def test_windows_alone_do_not_speak_of_other_orders():
    """The interval of one order, taken for one of the editor, misses most of the time."""
    share = covered(lambda rng: effects.crossed(windows_in_orders(rng, 1, between=0.08, within=0.1)), 1)
    assert share < 0.5


def test_more_orders_do_not_average_the_spread_of_windows_away():
    rng = np.random.default_rng(0)
    error = effects.crossed(windows_in_orders(rng, 200, between=0.0, together=0.0)).error
    assert error == pytest.approx(0.2 / 90**0.5, rel=0.2)


def test_summaries_of_orders_give_nearly_the_same():
    rng = np.random.default_rng(1)
    values = windows_in_orders(rng, 5)
    whole = effects.crossed(values)
    summary = effects.crossed_summaries(values.mean(axis=1), values.std(axis=1, ddof=1), 90)
    assert summary.interval.estimate == pytest.approx(whole.interval.estimate)
    assert whole.error <= summary.error < 1.3 * whole.error


@pytest.mark.parametrize("column", ["norm_ratio", "ratio_of_norms"])
def test_activations_of_the_same_windows_cover(column):
    """Four vectors of one window are one value: their ratios share the window's."""
    windows, where = 48, Where("text", "all", 0, "residual")

    def simulate(rng):
        before = np.exp(rng.normal(2, 0.3, (windows, 1)) + rng.normal(0, 0.1, (windows, 4)))
        grown = np.exp(rng.normal(0.1, 0.1, (windows, 1)) + rng.normal(0, 0.03, (windows, 4)))
        now, unedited = (torch.tensor(norms.reshape(-1, 1) * [[0.6, 0.8]]) for norms in (before * grown, before))
        row = compare_norms(where, now, unedited, now)
        return effects.crossed_summaries([row[column]], [row[f"{column}_std"]], row["units"])

    share = covered(simulate, np.exp(0.1 + (0.1**2 + 0.03**2) / 2))
    assert NOMINAL[0] <= share <= NOMINAL[1]


@pytest.mark.parametrize(("orders", "between"), [(1, 0.0), (3, 0.05), (8, 0.05)])
def test_changes_of_facts_cover(orders, between):
    def simulate(rng):
        lost = np.clip(0.3 + rng.normal(0, between, orders), 0, 1)
        return effects.nested([effects.of_changes(-(rng.random(50) < share).astype(float)) for share in lost])

    assert NOMINAL[0] <= covered(simulate, -0.3) <= NOMINAL[1]


def test_facts_that_all_stay_leave_room_for_a_few_that_would_not():
    one, eight = effects.of_changes(np.zeros(50)), effects.nested([effects.of_changes(np.zeros(50))] * 8)
    assert one.interval.estimate == 0 and -0.1 < one.interval.low < -0.03
    assert -0.03 < eight.interval.low < 0


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.9), (0.9, 0.5)])
def test_trends_along_a_run_cover(start, end):
    chance = np.linspace(start, end, 60)

    def simulate(rng):
        parts = rng.random(60) < chance, rng.binomial(2, chance) / 2, rng.binomial(10, chance) / 10
        return effects.of_trend(np.mean(parts, axis=0))

    assert NOMINAL[0] <= covered(simulate, end - start) <= 0.98


def test_the_test_of_no_trend_has_its_size_and_sees_a_trend():
    rng = np.random.default_rng(0)
    none = [trend_p([rng.binomial(3, 0.9, 40) / 3], rng, 199) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(none).min(axis=1) <= 0.025) <= 0.075
    fading = (rng.random((3, 60)) < np.linspace(1, 0.5, 60)).astype(float)
    falls, climbs = trend_p(list(fading), rng, 999)
    assert falls < 0.01 and climbs > 0.99


RISES = Rule(UP, 0.5, 0.5, zone=(0.4, 0.6))


def test_the_sign_test_has_its_size():
    """By the exact distribution: no number of rises that even odds give more than 5% of the time decides."""
    from scipy.stats import binom

    for calls in (6, 10, 50, 150):
        decided = [
            k for k in range(calls + 1) if decide(effects.of_share(k, calls), RISES)[0] in ("supported", "opposite")
        ]
        size = binom.pmf(decided, calls, 0.5).sum()
        assert 0.015 < size <= 0.05
        assert {0, calls} <= set(decided)


def test_exact_shares_equal_scipys():
    from scipy.stats import binomtest

    for successes, trials in ((0, 12), (5, 12), (12, 12)):
        found, expected = effects.of_share(successes, trials), binomtest(successes, trials, 0.5)
        assert found.interval[1:3] == pytest.approx(tuple(expected.proportion_ci()))
        assert 2 * min(found.p_above(0.5), found.p_below(0.5), 0.5) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_rank_correlation_covers(rho):
    """Of normal pairs with correlation r, Spearman's is 6 / pi asin(r / 2)."""

    def simulate(rng):
        x = rng.normal(size=30)
        return effects.rank_correlation(x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=30))

    assert NOMINAL[0] <= covered(simulate, 6 / np.pi * np.arcsin(rho / 2)) <= NOMINAL[1]


def test_rank_correlation_of_known_cases():
    def rho(x, y):
        return effects.rank_correlation(x, y).interval

    x = np.arange(8.0)
    assert rho(x, np.exp(x)).estimate == pytest.approx(1)
    assert rho(x, -(x**3)).estimate == pytest.approx(-1)
    assert rho([*x, np.nan], [*x, 0.0]).n == 8
    assert rho(x, [*x[:-1], np.inf]).estimate == pytest.approx(1)
    assert not rho(x[:4], x[:4]).bounded and not rho(x, np.ones(8)).bounded


def test_a_test_and_its_interval_say_the_same():
    rng = np.random.default_rng(3)
    made = [
        effects.of_mean(rng.normal(1, 2, 12)),
        effects.of_mean(rng.normal(0.1, 0.2, 12)).exp(),
        effects.of_share(7, 20),
        effects.crossed(windows_in_orders(rng, 3)),
        effects.bootstrapped(rng.normal(1, 1, (40, 1)), lambda means: means[..., 0], rng),
    ]
    for effect in made:
        low, high = effect.interval.low, effect.interval.high
        for bound, side in ((low, effect.p_above), (high, effect.p_below)):
            assert side(bound) == pytest.approx(0.025, abs=0.002)
        assert effect.p_above(low - 0.3 * abs(low)) < 0.025 < effect.p_above(low + 0.3 * (high - low))


NORMS = Rule(DOWN, 0.99, 1 / 0.99)


@pytest.mark.parametrize(
    ("mean", "error", "status"),
    [
        (0.95, 0.01, "supported"),
        (1.05, 0.01, "opposite"),
        (1.0, 0.002, "negligible"),
        (0.98, 0.01, "undecided"),
        (0.95, np.nan, "too short"),
    ],
)
def test_the_rule(mean, error, status):
    assert decide(effects.student(mean, error, 40, 41), NORMS)[0] == status


def test_wrong_verdicts_at_the_margin_are_rare():
    """At an effect just as large as the margin, to say anything at all is wrong; it happens in 5% of studies."""
    rng = np.random.default_rng(0)
    statuses = [decide(effects.of_mean(rng.normal(0.99, 0.02, 30)), NORMS)[0] for _ in range(2000)]
    assert 0.035 <= np.mean(np.array(statuses) != "undecided") <= 0.065


def test_equivalence_is_found_where_it_is_planted():
    rng = np.random.default_rng(0)
    statuses = [decide(effects.of_mean(rng.normal(1.0, 0.01, 48)), NORMS)[0] for _ in range(500)]
    assert set(statuses) <= {"negligible", "undecided"} and statuses.count("negligible") > 0.95 * len(statuses)


def test_among_many_runs_without_effect_a_finding_is_as_rare_as_in_one():
    rng, rule, found = np.random.default_rng(0), Rule(UP, 0.0, 0.0, zone=(-1e-9, 1e-9)), 0
    for _ in range(300):
        decided = [decide(effects.of_mean(rng.normal(0, 1, 20)), rule) for _ in range(15)]
        verdicts = corrected([Verdict(status, "", p=p) for status, p in decided])
        found += any(verdict.status in ("supported", "opposite") for verdict in verdicts)
    assert 0.02 <= found / 300 <= 0.08
