"""A study whose commands run in forks of one process ends in the bytes of one whose commands run alone."""

import pytest

from normgrowth.workflow import forks
from tests.workflow.small_study import small_study

TIMES = ("timing.parquet", "speed.parquet")


def results(tree) -> dict[str, bytes]:
    folder = tree.folder / "results"
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in TIMES]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_commands_in_forks_leave_the_same_bytes(tmp_path, monkeypatch):
    tree = small_study(tmp_path / "tree", editors=["memit"])
    done = tree.snakemake("--cores", "2", "edits")
    assert done.returncode == 0, done.stdout
    logs = [log.read_text() for log in (tree.folder / "logs").rglob("edit/**/*.log")]
    assert any("MB of memory" in log for log in logs)  # all that began once the process was ready
    found = results(tree)
    assert any(name.endswith("state.safetensors") for name in found)
    monkeypatch.setenv(forks.VARIABLE, "")
    done = tree.snakemake("--cores", "2", "--forcerun", "edit", "--", "edits")
    assert done.returncode == 0, done.stdout
    logs = [log.read_text() for log in (tree.folder / "logs").rglob("edit/**/*.log")]
    assert logs and not any("MB of memory" in log for log in logs)
    assert results(tree) == found
