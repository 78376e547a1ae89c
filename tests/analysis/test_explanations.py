"""The explanation that orders editors by damage is found, and noise is not taken for one."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normgrowth.analysis import explanations
from normgrowth.analysis.explanations import EXPLANATIONS, PERPLEXITY, rank_explanations

NAMES = ("a", "b", "c")


def editors(n, seed=0, **columns):
    """A table of editors whose damage is drawn; columns are functions of damage and of a generator."""
    rng = np.random.default_rng(seed)
    damage = rng.lognormal(size=n)
    values = {name: column(damage, rng) for name, column in columns.items()}
    return pd.DataFrame({"editor": [f"memit-{i}" for i in range(n)], PERPLEXITY: damage, **values})


def perfect(damage, rng):
    return np.sqrt(damage)


def noise(damage, rng):
    return rng.normal(size=len(damage))


def blurred(damage, rng):
    return np.log(damage) + 0.5 * rng.normal(size=len(damage))


def test_a_perfect_explanation_has_a_correlation_of_one_and_wins():
    ranking = rank_explanations(editors(12, a=noise, b=perfect, c=noise), names=NAMES)
    assert ranking.best.name == "b" and ranking.told and ranking.undistinguished == ()
    assert ranking.best.over_editors.estimate == 1.0 and ranking.editors == 12
    assert 0.5 < ranking.best.over_editors.low < 1.0  # twelve editors are no certainty


def test_correlations_are_spearmans():
    table = editors(15, a=blurred, b=noise)
    ranking = rank_explanations(table, names=("a", "b"))
    for entry in ranking.explained:
        assert entry.over_editors.estimate == pytest.approx(stats.spearmanr(table[entry.name], table[PERPLEXITY])[0])
        assert entry.over_editors.low <= entry.over_editors.estimate <= entry.over_editors.high


@pytest.fixture
def fewer_resamples(monkeypatch):
    """Where a test ranks many tables."""
    monkeypatch.setattr(explanations, "RESAMPLES", 800)


@pytest.mark.parametrize("n", [8, 20])
def test_noise_is_rarely_told_to_be_an_explanation(n, fewer_resamples):
    told = [rank_explanations(editors(n, seed, a=noise, b=noise), names=("a", "b")).told for seed in range(60)]
    assert np.mean(told) <= 0.05


def test_of_two_equally_good_explanations_none_is_told_to_be_better(fewer_resamples):
    rankings = [rank_explanations(editors(20, s, a=blurred, b=blurred), names=("a", "b")) for s in range(60)]
    assert np.mean([ranking.told for ranking in rankings]) <= 0.1
    twins = rank_explanations(editors(12, a=perfect, b=lambda damage, rng: damage**3), names=("a", "b"))
    assert not twins.told and twins.undistinguished == ("b",)


def test_a_falling_explanation_explains_nothing():
    ranking = rank_explanations(editors(12, a=lambda damage, rng: -damage), names=("a",))
    assert ranking.best.over_editors.estimate == -1.0 and not ranking.told


def test_the_same_table_gives_the_same_interval():
    table = editors(10, a=blurred, b=noise)
    assert rank_explanations(table, names=("a", "b")) == rank_explanations(table, names=("a", "b"))
    other = rank_explanations(table, names=("a", "b"), seed=1).explained[0].over_editors
    assert other != rank_explanations(table, names=("a", "b")).explained[0].over_editors


def test_few_editors_tell_nothing():
    ranking = rank_explanations(editors(4, a=perfect, b=noise), names=("a", "b"))
    assert ranking.best is None and not ranking.told and ranking.editors == 4
    assert rank_explanations(editors(0, a=perfect), names=("a",)).best is None


def test_what_broke_ranks_last_and_what_was_not_measured_is_left_out():
    table = editors(8, a=perfect, b=perfect)
    table.loc[table[PERPLEXITY].idxmax(), [PERPLEXITY, "a"]] = np.inf
    assert rank_explanations(table, names=("a",)).best.over_editors.estimate == 1.0
    table["b"] = np.nan
    table.loc[0, "a"] = np.nan
    ranking = rank_explanations(table, names=("a", "b"))
    assert ranking.editors == 7 and [entry.name for entry in ranking.explained] == ["a"]


def test_a_constant_explanation_stands_last():
    ranking = rank_explanations(editors(9, a=lambda damage, rng: np.ones(9), b=noise), names=("a", "b"))
    assert [entry.name for entry in ranking.explained] == ["b", "a"] and not ranking.told
    assert np.isnan(ranking.explained[1].over_editors.estimate)


def test_control_arms_are_no_editors():
    table = editors(8, a=perfect)
    arm = pd.DataFrame({"editor": ["norm_restored-memit"], PERPLEXITY: [0.0], "a": [9.0]})
    assert rank_explanations(pd.concat([table, arm]), names=("a",)).editors == 8


def test_each_family_counts_once():
    """Within the largest family the explanation is reversed; over families it is perfect."""
    names = ["ft", "mend", "rome", "r_rome", "memit", "emmet"]
    table = pd.DataFrame({"editor": names, PERPLEXITY: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "a": [0.1, 0.2, 6, 5, 4, 3]})
    (entry,) = rank_explanations(table, names=("a",)).explained
    assert entry.over_families.estimate == 1.0 and entry.over_families.n == 3
    assert entry.over_editors.estimate == pytest.approx(stats.spearmanr(table["a"], table[PERPLEXITY])[0])
    (entry,) = rank_explanations(table.iloc[1:], names=("a",)).explained
    assert np.isnan(entry.over_families.estimate)  # of two families it would always be 1 or -1


def test_explanations_have_words():
    assert all(EXPLANATIONS.values())
