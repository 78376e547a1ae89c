"""When a run breaks is read off its immediate scores; what stays standing is said to have lasted."""

import numpy as np
import pytest

from normgrowth.analysis.collapse import WINDOW, collapses, first_below, sliding_s
from normgrowth.report.cells import as_markdown
from normgrowth.report.summaries import collapse_tables
from tests.support import planted
from tests.support.planted import Run


def planted_scores(values, **options):
    """Tables of one run whose edits score `values` just after they are made, in ES, PS and NS alike."""
    tables = planted.tables(Run(edits=len(values), **options))
    at_once = tables["scores"]["moment"] == "immediate"
    for name in ("es", "ps", "ns"):
        tables["scores"].loc[at_once, name] = np.asarray(values, dtype=float)
    return tables


def test_the_window_slides_over_the_last_edits():
    values = [1.0] * 30 + [0.0] * 30
    s = sliding_s(planted_scores(values)["scores"])
    assert list(s.index) == list(range(WINDOW, 61))
    assert s.loc[30] == 1.0 and s.loc[40] == pytest.approx(0.5) and s.loc[60] == 0.0


def test_the_edits_at_which_a_run_breaks():
    (run,) = collapses(planted_scores([1.0] * 30 + [0.0] * 30))
    # At edit 38 eight of the last twenty failed: S is exactly 0.60, and not under it.
    assert (run.start, run.below_floor, run.below_half, run.early_es) == (1.0, 39, 41, 1.0)


def test_a_run_that_lasts_is_censored():
    tables = planted_scores([1.0] * 60)
    (run,) = collapses(tables)
    assert run.below_floor is None and run.below_half is None and run.start == 1.0
    assert as_markdown(collapse_tables([run])).count("not within 60 edits") == 2


def test_a_weak_start_is_under_the_floor_at_once():
    (run,) = collapses(planted_scores([0.5] * 60))
    assert run.below_floor == WINDOW and run.below_half is None


def test_a_run_shorter_than_the_window_has_no_start():
    (run,) = collapses(planted_scores([1.0] * 5, checkpoints=(5,), cases=5))
    assert run.start is None and run.below_floor is None and run.early_es == 1.0
    assert "not within" not in as_markdown(collapse_tables([run]))


def test_what_is_left_at_the_end():
    (run,) = collapses(planted.tables(Run(growth=0.01, noise=0.0, perplexity_growth=0.01, norm_change=-0.004)))
    assert run.norm_ratio == pytest.approx(np.exp(0.6))
    assert run.perplexity_ratio == pytest.approx(np.exp(0.6), rel=1e-5)
    assert 0.75 < run.residual_ratio < 0.9 and run.residual_cosine == pytest.approx(np.cos(0.5), rel=1e-4)
    assert 0.6 < run.final_s < 0.95


def test_a_model_that_is_not_finite_is_no_missing_value():
    (run,) = collapses(planted.tables(Run(collapse=40)))
    assert all(np.isnan(v) for v in (run.norm_ratio, run.residual_ratio, run.residual_cosine))
    assert run.perplexity_ratio is not None and not np.isfinite(run.perplexity_ratio)


def test_what_was_not_measured_is_missing():
    (run,) = collapses(planted.tables(Run(checkpoints=())))
    assert (run.final_s, run.perplexity_ratio, run.residual_ratio) == (None, None, None)


def test_every_order_is_a_run_of_its_own():
    runs = collapses(planted.tables(Run(orders=2)))
    assert [run.order for run in runs] == [0, 1]
    (table,) = collapse_tables(runs)
    assert table.columns[:2] == ("editor", "order") and table.labels == 2


def test_one_table_per_model_grouped_by_family():
    tables = collapse_tables(collapses(planted.tables(*planted.every_editor("world-gpt2", "world-llama"))))
    assert [table.title for table in tables] == ["When runs break: world-gpt2", "When runs break: world-llama"]
    for table in tables:
        assert list(table.groups) == ["fine-tuning", "hypernetworks", "locate-and-edit", "control arms"]
        assert len(table.rows) == len(planted.EFFECTS)
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_first_below_is_the_first():
    s = sliding_s(planted_scores([1.0] * 25 + [0.0] * 15 + [1.0] * 20)["scores"])
    assert first_below(s, 0.6) == 34 and first_below(s, 0.0) is None
