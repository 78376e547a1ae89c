"""When runs collapse: planted scores with known turns, and what is printed of them."""

import numpy as np
import pandas as pd
import pytest

from normgrowth import cli
from normgrowth.claims.collapse import WINDOW, collapses, sliding
from normgrowth.claims.judge import judge
from normgrowth.families import by_family, controlled_editor, is_control, rank
from tests import planted
from tests.planted import Run

SMALL = {"edits": 40, "checkpoints": (20, 40), "n_layers": 3, "cases": 40}


def scores(values) -> pd.DataFrame:
    """Immediate scores with the same ES, PS and NS, one fact per edit."""
    frame = pd.DataFrame({"es": values, "ps": values, "ns": values, "moment": "immediate"})
    return frame.assign(edited_at=range(1, len(frame) + 1), study="s", model="m", editor="ft", order=0)


def only_scores(values) -> dict[str, pd.DataFrame]:
    empty = {name: frame.iloc[:0] for name, frame in planted.tables(Run(**SMALL)).items()}
    return {**empty, "scores": scores(values)}


def test_s_slides_over_the_last_edits():
    s = sliding(scores([1.0] * WINDOW + [0.0] * WINDOW))
    assert list(s.index) == list(range(WINDOW, 2 * WINDOW + 1))
    assert s.iloc[0] == 1 and s.iloc[-1] == 0 and s.loc[WINDOW + 5] == pytest.approx(0.75)


def test_the_edits_at_which_s_falls():
    """From 1 to 0 at edit 21: 8 failures of 20 leave S at the bar, 9 below it; 11 leave it below half."""
    (run,) = collapses(only_scores([1.0] * 20 + [0.0] * 20))
    assert (run.start, run.first_efficacy, run.below_bar, run.below_half) == (1.0, pytest.approx(2 / 3), 29, 31)
    assert run.norm_ratio is None and run.final is None


def test_a_run_that_holds_is_not_reached():
    (run,) = collapses(only_scores([0.9] * 40))
    assert run.below_bar is None and run.below_half is None and run.edits == 40
    (short,) = collapses(only_scores([0.9] * 5))
    assert short.start is None and short.below_bar is None


def test_what_stands_at_the_end_is_that_of_the_tables():
    tables = planted.tables(Run(**SMALL))
    (run,) = collapses(tables)
    last = tables["norms"].query("role == 'edited'").sort_values("step")["frobenius_ratio"].iloc[-1]
    assert run.norm_ratio == pytest.approx(last)
    perplexity = tables["downstream"].sort_values("step")["value"]
    assert run.perplexity_ratio == pytest.approx(perplexity.iloc[-1] / perplexity.iloc[0])
    assert 0 < run.cosine <= 1 and np.isfinite(run.residual_ratio)


def test_the_command_prints_a_row_per_run_by_family(tmp_path, capsys):
    runs = [Run(editor=editor, **SMALL) for editor in ("memit", "scale_only-memit", "ft")]
    tables = planted.write(tmp_path / "tables", planted.tables(*runs))
    assert cli.main(["summary", "--tables", str(tables)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| model | editor | ES, first 30 |") and len(lines) == 5
    assert [line.split(" | ")[1] for line in lines[2:]] == ["ft", "memit", "scale_only-memit"]
    assert "> 40" in lines[2]


def test_families_and_arms():
    assert is_control("scale_only-memit") and not is_control("memit-scale_only")
    assert controlled_editor("norm_restored-memit-weak") == "memit-weak"
    assert controlled_editor("memit-weak") is None and controlled_editor("scale_only") is None
    groups = by_family(["ft", "mine", "scale_only-ft", "memit"])
    assert list(groups) == ["fine-tuning", "locate-and-edit", "control arm", "other"]
    assert sorted(["mine", "scale_only-ft", "memit-b", "memit", "ft"], key=rank)[:3] == ["ft", "memit", "memit-b"]


def test_claims_leave_control_arms_out():
    tables = planted.tables(Run(**SMALL), Run(editor="norm_restored-r_rome", norm_change=-0.1, **SMALL))
    judged = judge(tables)
    editors = {verdict["editor"] for claim in judged["claims"] for verdict in claim["verdicts"]}
    assert editors == {"r_rome"} and judged["editors_without_family"] == []
