"""Coverage of intervals and size of tests by simulation, with truth planted in orders, windows, facts and calls."""

import numpy as np
import pandas as pd
import pytest

from normgrowth.analysis import effects
from normgrowth.analysis.edit_scores import PARTS_OF_S, by_call, trend_p
from normgrowth.claims.paper_claims import CLAIMS
from normgrowth.claims.verdict import DOWN, UP, Rule, Verdict, corrected, decide
from normgrowth.measure.activations import Where
from normgrowth.measure.geometry import compare_norms

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
    """Coverage with one order: the interval is about that order, whose own effect is the truth."""
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
        return effects.of_trend(range(60), np.mean(parts, axis=0))

    # Above nominal: what series of equal scores may hide is added to every series' spread.
    assert NOMINAL[0] <= covered(simulate, end - start) <= 0.98


def test_the_test_of_no_trend_has_its_size_and_sees_a_trend():
    rng = np.random.default_rng(0)
    none = [trend_p([pd.Series(rng.binomial(3, 0.9, 40) / 3)], rng, 199) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(none).min(axis=1) <= 0.025) <= 0.075
    fading = (rng.random((3, 60)) < np.linspace(1, 0.5, 60)).astype(float)
    falls, climbs = trend_p([pd.Series(scores) for scores in fading], rng, 999)
    assert falls < 0.01 and climbs > 0.99


def immediate_scores(rng, calls, facts, shared):
    """Scores of facts just after their edit; those of a call share the state that it left, `shared` on their logit."""
    step = np.repeat(np.arange(1, calls + 1) * facts, facts)
    logits = 1.5 + np.repeat(rng.normal(0, shared, calls), facts)
    scores = (rng.random((3, calls * facts)) < 1 / (1 + np.exp(-logits))).astype(float)
    cases = {"order": 0, "case_id": range(calls * facts), "moment": "immediate", "step": step}
    return pd.DataFrame({**cases, **dict(zip(PARTS_OF_S, scores, strict=True))})


def test_facts_that_share_the_state_of_their_call_do_not_make_a_trend():
    """Facts taken for units, the same test sees one far too often."""
    rng = np.random.default_rng(0)
    tables = [immediate_scores(rng, 10, 10, 1.0) for _ in range(400)]
    runs = [by_call(table, PARTS_OF_S) for table in tables]

    def size(series):
        return np.mean([min(trend_p(run, rng, 199)) <= 0.025 for run in series])

    assert 0.02 <= size(runs) <= 0.075
    assert size([[table[PARTS_OF_S].mean(axis=1)] for table in tables[:200]]) > 0.15
    covering = [effects.of_trend(calls.index, calls, 10).interval for (calls,) in runs]
    assert 0.92 <= np.mean([interval.low <= 0 <= interval.high for interval in covering]) <= 0.98


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
    """Coverage for normal pairs: with correlation r, Spearman's is 6 / pi asin(r / 2)."""

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


def test_a_perfect_rank_correlation_is_no_certainty():
    """Smallest p-value of five pairs: two orders in 120 give 1 or -1 by chance."""
    five = np.arange(5.0)
    same, reverse = effects.rank_correlation(five, five), effects.rank_correlation(five, -five)
    assert same.interval.high == pytest.approx(1) and 0 < same.interval.low < 0.5
    assert (reverse.interval.low, reverse.interval.high) == pytest.approx((-1, -same.interval.low))
    assert same.p_above(0.0) == pytest.approx(1 / 120) == reverse.p_below(0.0)
    assert min(same.p_above(-0.99), same.p_above(0.0)) >= 1 / 120
    many = np.arange(12.0)
    assert effects.rank_correlation(many, many).p_above(0.0) > 0


def test_no_rank_correlation_is_tested_at_its_size():
    rng = np.random.default_rng(0)
    tails = [effects.rank_correlation(rng.random(n), rng.random(n)).p_above(0.0) for n in (6, 15) for _ in range(500)]
    assert 0.012 <= np.mean(np.array(tails) <= 0.025) <= 0.04


def test_orders_that_differ_by_rounding_alone_are_no_surer_than_their_facts():
    parts = [effects.of_changes(np.full(50, -0.1) + shift) for shift in (0.0, 1e-16, 3e-16)]
    interval = effects.nested(parts).interval
    assert interval.high - interval.low > 0.02


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
        verdicts = corrected([Verdict(status, "", tests=tests) for status, tests in decided])
        found += any(verdict.status in ("supported", "opposite") for verdict in verdicts)
    assert 0.02 <= found / 300 <= 0.08


@pytest.mark.parametrize("rule", sorted({claim.rule for claim in CLAIMS}, key=str), ids=str)
@pytest.mark.parametrize("others", [0, 17])
def test_more_data_never_take_a_direction_away(rule, others):
    """Errors from large to small at fixed means, alone and among other runs: once sure, the direction stays sure."""
    rest = [_judged(effects.student(0.0, 1.0, 40, 41), rule)] * others
    for mean in np.linspace(-0.5, 1.5, 21):
        seen = []
        for error in np.geomspace(2.0, 1e-6, 40):
            seen.append(corrected([_judged(effects.student(mean, error, 40, 41), rule), *rest])[0].status)
        directed = [status in ("supported", "opposite") for status in seen]
        assert directed == sorted(directed), (mean, seen)
        decided = [status != "undecided" for status in seen]
        assert decided == sorted(decided), (mean, seen)
        assert len({status for status in seen if status in ("supported", "opposite")}) <= 1


def _judged(effect, rule):
    status, tests = decide(effect, rule)
    return Verdict(status, "", tests=tests)


def test_a_direction_lost_to_the_correction_leaves_a_sure_smallness():
    rule = Rule(UP, 0.0, 0.0, zone=(-0.2, 0.2))
    one, other = (_judged(effects.student(mean, error, 100, 101), rule) for mean, error in ((0.022, 0.01), (0, 0.09)))
    many = [one, *[other] * 9]
    assert one.status == "supported" and corrected(many)[0].status == "negligible"
    assert "supported by itself" in corrected(many)[0].reading


def test_small_p_values_do_not_vanish():
    effect = effects.student(-30.0, 1.0, 1000, 1001)
    assert 0 < effect.p_below(0.0) < 1e-100 and effect.p_above(0.0) == 1
