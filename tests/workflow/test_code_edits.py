"""Files that are edited while a run goes on."""

import os
import sys
from types import SimpleNamespace

import pytest

from normgrowth.workflow import locks
from normgrowth.workflow.code_edits import STUDY, kept, stamps, tell_of_edits
from normgrowth.workflow.snakemake_lock import lock_of


@pytest.fixture
def unwatched(monkeypatch):
    monkeypatch.setattr(locks, "_watched", lambda run: None)


def test_files_that_editors_leave_about_stop_no_run(tmp_path, capsys, monkeypatch):
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads/code.py").write_text("A = 1")
    (tmp_path / "heads/.#code.py").symlink_to("somebody@somewhere.1234")
    (tmp_path / "heads/nowhere.py").symlink_to("somebody@somewhere.1234")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/code.py").write_text("A = 1")
    before = stamps([tmp_path])
    assert list(before) == [tmp_path / "heads/code.py"]
    tell_of_edits(before, [tmp_path])
    assert capsys.readouterr().err == ""
    (tmp_path / "heads/code.py").write_text("A = 22")
    tell_of_edits(before, [tmp_path])
    assert "edited while this run went on: code.py." in capsys.readouterr().err
    with open(os.devnull) as unwritable:
        monkeypatch.setattr(sys, "stderr", unwritable)
        tell_of_edits(before, [tmp_path])


def test_jobs_find_the_study_of_their_own_run(tmp_path, unwatched, monkeypatch):
    """A run may have been started by a job of another one."""
    monkeypatch.setenv(STUDY, "of a run around it")
    persistence = SimpleNamespace(path=str(tmp_path), all_inputfiles=lambda: ["a"], all_outputfiles=lambda: ["b"])
    for executor in ("local", "slurm"):
        plugin = SimpleNamespace(name=executor)
        hook = lock_of({"study": "demo"}, lambda plugin=plugin: plugin, tmp_path)
        with hook(persistence):
            if executor == "local":
                assert STUDY not in os.environ
            else:
                assert kept(is_job=True) == {"study": "demo"}
        assert os.environ[STUDY] == "of a run around it"
