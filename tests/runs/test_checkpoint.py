"""What an unedited model's tables take from its first order is what measuring would give."""

from normgrowth.io.columns import CHECKPOINT_TABLES, OF_MODEL
from normgrowth.measure import geometry
from tests.support.commands import Workbench


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
