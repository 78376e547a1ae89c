"""What is taken from tables of the unedited model is what measuring would give."""

import pandas as pd

from normgrowth.io.columns import CHECKPOINT_TABLES, OF_MODEL
from normgrowth.io.tables import read_table
from normgrowth.measure import ability, geometry, retention
from normgrowth.study.plan import compact
from tests.support.commands import MEASURE, Workbench


def test_tables_of_the_first_order_are_those_of_another(tmp_path, monkeypatch):
    bench = Workbench(tmp_path)
    names = {"study": "s", "model-name": "m", "editor-name": "unedited"}
    folders = {name: tmp_path / name for name in ("first", "measured", "taken")}
    assert bench.run("measure", **names, out=folders["first"]) == 0
    assert bench.run("measure", **names, order=1, out=folders["measured"]) == 0
    monkeypatch.setattr(geometry, "measure", None)  # would fail
    assert bench.run("measure", **names, order=1, first_order=folders["first"], out=folders["taken"]) == 0
    for table in CHECKPOINT_TABLES:
        found, expected = ((folders[name] / f"{table}.parquet").read_bytes() for name in ("taken", "measured"))
        assert found == expected, table
    assert "scores" not in OF_MODEL


def test_tables_of_another_model_or_of_other_settings_are_refused(tmp_path, capsys):
    bench = Workbench(tmp_path)
    names = {"study": "s", "model-name": "m", "editor-name": "unedited"}
    assert bench.run("measure", **names, out=tmp_path / "first") == 0
    capsys.readouterr()
    bench.records = bench.records[:-1]
    assert bench.run("measure", **names, order=1, first_order=tmp_path / "first", out=tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "first/spectra.parquet holds facts " in said and "delete it and run the workflow again" in said
    assert not (tmp_path / "out").exists()


def measured_after_two(bench, out, **options):
    """The exit code of measuring after two edits."""
    return bench.run("measure", step=2, chain=bench.out / "chain", segments=1, out=out, **options)


def test_an_edited_model_is_measured_the_same_beside_the_unedited_models_tables(tmp_path, monkeypatch):
    bench = Workbench(tmp_path)
    folders = {name: tmp_path / name for name in ("unedited", "measured", "taken")}
    assert bench.run("edit") == 0
    assert bench.run("measure", editor_name="unedited", out=folders["unedited"]) == 0
    assert measured_after_two(bench, folders["measured"]) == 0
    passes = []
    read, score = ability.read_text, retention.score_facts
    monkeypatch.setattr(ability, "read_text", lambda *given: passes.append("text") or read(*given))
    monkeypatch.setattr(retention, "score_facts", lambda *given: passes.append("facts") or score(*given))
    assert measured_after_two(bench, folders["taken"], unedited=folders["unedited"]) == 0
    assert passes == ["facts", "facts", "text"]  # edited and untouched facts, and the text: all of the edited model
    for table in CHECKPOINT_TABLES:
        found, expected = ((folders[name] / f"{table}.parquet").read_bytes() for name in ("taken", "measured"))
        assert found == expected, table


def test_facts_that_the_unedited_models_table_lacks_are_scored(tmp_path):
    bench = Workbench(tmp_path)
    assert bench.run("edit") == 0
    few = compact(MEASURE.model_copy(update={"baseline_facts": 1}))
    assert bench.run("measure", editor_name="unedited", settings=few, out=tmp_path / "unedited") == 0
    assert measured_after_two(bench, tmp_path / "measured") == 0
    assert measured_after_two(bench, tmp_path / "taken", unedited=tmp_path / "unedited") == 0
    found, expected = (read_table(tmp_path / name / "norm_direction.parquet") for name in ("taken", "measured"))
    pd.testing.assert_frame_equal(found, expected)


def test_the_unedited_models_tables_of_other_settings_are_refused(tmp_path, capsys):
    bench = Workbench(tmp_path)
    assert bench.run("edit") == 0
    other = compact(MEASURE.model_copy(update={"perplexity_tokens": 128}))
    assert bench.run("measure", editor_name="unedited", settings=other, out=tmp_path / "unedited") == 0
    capsys.readouterr()
    assert measured_after_two(bench, tmp_path / "refused", unedited=tmp_path / "unedited") == 1
    assert "unedited/scores.parquet holds measure " in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
