"""Columns of editors side by side are those of planted runs, and of matrices computed anew."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normgrowth.analysis.side_by_side import COLUMNS, HIGH, LOW, at_the_end, by_order, side_by_side
from normgrowth.io.schemas import SCHEMAS
from tests.support import planted
from tests.support.planted import Run

SMALL = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}


def speed_of(tables, mebibytes):
    """Table `speed` with a segment of ten edits for each memory."""
    runs = tables["norms"][["study", "model", "editor", "order"]].drop_duplicates()
    parts = [runs.assign(step=10 * number, peak_memory_mb=held) for number, held in enumerate(mebibytes, start=1)]
    return pd.concat(parts).reindex(columns=SCHEMAS["speed"].names)


def row(table, editor, step):
    (found,) = table[(table["editor"] == editor) & (table["step"] == step)].to_dict("records")
    return found


def test_every_column_is_what_was_planted():
    tables = planted.tables(Run(layers=(1, 2), growth=0.02, noise=0.0, norm_change=-0.004, turn=0.01, **SMALL))
    tables["speed"] = speed_of(tables, [300.0, 200.0])
    found = row(side_by_side(tables), "r_rome", 10)
    r = np.exp(0.2)
    assert found["norm_ratio"] == pytest.approx(r)
    # Planted matrices are scaled: W = r W_0.
    assert found["drift"] == pytest.approx(r - 1) and found["unedited_coefficient"] == pytest.approx(r)
    assert found["spectral_ratio"] == pytest.approx(np.exp(1.3 * 0.2))
    assert found["stable_rank_ratio"] == pytest.approx(1 / np.exp(1.3 * 0.2) ** 0.5)
    assert found["rotation"] == pytest.approx(1.05 * 0.8 * 10)  # left 0.8, right 1.1 times that
    strengths = np.array([1, 2]) / 3  # of layers 1 and 2 of three
    assert found["output_gain"] == pytest.approx(np.exp((-0.04 * strengths).mean()), rel=0.01)
    assert found["output_cosine"] == pytest.approx(np.cos(0.1 * strengths).mean(), rel=1e-5)
    assert found["perplexity_ratio"] == pytest.approx(np.exp(0.1))
    assert (found["orders"], found["memory"]) == (1, 300.0)
    assert found["direction_alone"] == pytest.approx(np.exp(0.08), abs=0.06)  # between orders they vary by 0.02
    assert found["norm_alone"] == pytest.approx(np.exp(0.02), abs=0.06)
    assert np.isnan(found["ablated"]) and 0.2 < found["seconds"] < 0.25
    assert row(side_by_side(tables), "r_rome", 20)["memory"] == 300.0


def test_scores_at_once_are_of_all_edits_so_far_and_those_now_of_the_same_facts():
    tables = planted.tables(Run(loss=0.02, **SMALL))
    scores = tables["scores"]
    found = row(side_by_side(tables), "r_rome", 10)
    at_once = scores[(scores["moment"] == "immediate") & (scores["step"] <= 10)]
    now = scores[(scores["moment"] == "retention") & (scores["step"] == 10)]
    for name in ("es", "ps", "ns"):
        assert found[f"{name}_at_once"] == pytest.approx(at_once[name].mean())
        assert found[name] == pytest.approx(now[name].mean())
    assert found["generated"] == pytest.approx(now["es"].mean())  # planted so
    kept = now[now["case_id"] <= 1005]
    scores = scores.drop(index=now.index.difference(kept.index))
    found = row(side_by_side(tables | {"scores": scores}), "r_rome", 10)
    first = at_once[at_once["case_id"] <= 1005]
    before, after = (3 / sum(1 / part[name].mean() for name in ("es", "ps", "ns")) for part in (first, kept))
    assert found["s"] == pytest.approx(after) and found["s_lost"] == pytest.approx(before - after)


def test_drift_and_coefficient_are_those_of_the_matrices_together():
    rng = np.random.default_rng(0)
    before = [rng.normal(size=(4, 7)), 3 * rng.normal(size=(4, 7))]
    after = [0.5 * before[0] + rng.normal(size=(4, 7)), before[1] + rng.normal(size=(4, 7))]
    tables = planted.tables(Run(layers=(0, 1), edits=1, checkpoints=(1,), n_layers=2, cases=1))
    norms = tables["norms"]
    for layer, (old, new) in enumerate(zip(before, after, strict=True)):
        at = (norms["layer"] == layer) & (norms["role"] == "edited")
        length = np.linalg.norm(old)
        columns = ["frobenius", "frobenius_ratio", "drift_frobenius"]
        norms.loc[at & (norms["step"] == 0), columns] = [length, 1.0, 0.0]
        now = [np.linalg.norm(new), np.linalg.norm(new) / length, np.linalg.norm(new - old)]
        norms.loc[at & (norms["step"] == 1), columns] = now
    found = row(side_by_side(tables), "r_rome", 1)
    long_before, long_after = (np.concatenate([matrix.ravel() for matrix in pair]) for pair in (before, after))
    assert found["unedited_coefficient"] == pytest.approx(long_after @ long_before / (long_before @ long_before))
    assert found["drift"] == pytest.approx(np.linalg.norm(long_after - long_before) / np.linalg.norm(long_before))
    ratios = [np.linalg.norm(new) / np.linalg.norm(old) for old, new in zip(before, after, strict=True)]
    assert found["norm_ratio"] == pytest.approx(np.sqrt(ratios[0] * ratios[1]))


def test_several_orders_have_intervals_of_their_mean():
    tables = planted.tables(Run(orders=3, **SMALL), Run(editor="ft", **SMALL))
    one_by_one, table = by_order(tables), side_by_side(tables)
    mine = one_by_one[(one_by_one["editor"] == "r_rome") & (one_by_one["step"] == 20)]
    found = row(table, "r_rome", 20)
    assert found["orders"] == len(mine) == 3
    for name, forward, back in (("norm_ratio", np.log, np.exp), ("ns", np.array, np.array)):
        values = forward(mine[name])
        low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
        assert found[name] == pytest.approx(float(back(values.mean())))
        assert [found[name + LOW], found[name + HIGH]] == pytest.approx([float(back(low)), float(back(high))])
    single = row(table, "ft", 20)
    assert np.isnan(single["norm_ratio" + LOW])
    # Windows of text are units too, so that damage has an interval in any case.
    assert single["perplexity_ratio" + LOW] < single["perplexity_ratio"] < single["perplexity_ratio" + HIGH]


def test_what_is_no_finite_number_is_infinite_and_what_was_not_measured_is_missing():
    tables = planted.tables(Run(collapse=15, **SMALL))
    table = side_by_side(tables)
    broken, sound = row(table, "r_rome", 20), row(table, "r_rome", 10)
    measured = ["perplexity_ratio", "norm_ratio", "drift", "unedited_coefficient", "spectral_ratio", "output_gain"]
    measured += ["output_cosine", "direction_alone", "norm_alone"]
    for name in measured:
        assert np.isfinite(sound[name]) and broken[name] == np.inf and np.isnan(broken[name + LOW])
    few = {name: tables[name] for name in ("norms", "activations", "scores", "downstream")}
    bare = row(side_by_side(few), "r_rome", 10)
    for name in ("spectral_ratio", "rotation", "direction_alone", "seconds", "memory"):
        assert np.isnan(bare[name])
    assert bare["perplexity_ratio"] == sound["perplexity_ratio"]


def test_steps_of_the_curve_have_a_row_with_what_was_measured_there():
    tables = planted.tables(Run(**SMALL))
    tables["activations"] = tables["activations"][tables["activations"]["step"] != 10]
    found = row(side_by_side(tables), "r_rome", 10)
    assert np.isnan(found["output_gain"]) and np.isfinite(found["perplexity_ratio"])


def test_a_step_that_an_order_did_not_reach_is_left_out():
    tables = planted.tables(Run(orders=2, **SMALL))
    for name in ("downstream", "activations"):
        frame = tables[name]
        tables[name] = frame[(frame["order"] == 0) | (frame["step"] < 20)]
    assert list(side_by_side(tables)["step"]) == [10]


def test_an_editor_that_moves_nothing_has_no_drift_and_no_interval_of_it():
    tables = planted.tables(Run(growth=0.0, noise=0.0, orders=2, **SMALL))
    found = row(side_by_side(tables), "r_rome", 20)
    assert (found["drift"], found["norm_ratio"], found["unedited_coefficient"]) == (0.0, 1.0, 1.0)
    assert np.isnan(found["drift" + LOW]) and found["norm_ratio" + LOW] == 1.0


def test_the_least_damage_stands_first_and_what_broke_last():
    runs = [Run(editor="ft", collapse=5, **SMALL), Run(perplexity_growth=0.05, **SMALL), Run(editor="memit", **SMALL)]
    ends = at_the_end(side_by_side(planted.tables(*runs)))
    assert list(ends["editor"]) == ["memit", "r_rome", "ft"] and set(ends["step"]) == {20}


def test_the_unedited_model_is_no_editor_and_no_run_gives_no_row():
    tables = planted.tables(Run(**SMALL))
    unedited = {name: pd.concat([frame, frame.assign(editor="unedited")]) for name, frame in tables.items()}
    assert set(side_by_side(unedited)["editor"]) == {"r_rome"}
    empty = side_by_side(planted.tables())
    assert empty.empty and set(COLUMNS) < set(empty.columns)
    assert at_the_end(empty).empty
