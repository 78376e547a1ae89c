"""A study with a stream runs to its report, which says how each kind of edit fared; more edits append to it."""

import pytest

from normgrowth.io.tables import read_table
from tests.workflow.small_study import EDITS, SEGMENT, small_study

STREAM = {"repeats": 0.3, "put_back": 0.3, "gap": 5}
BATCHES = {"memit": {"batch": 5}}


@pytest.mark.slow
def test_a_stream_runs_to_its_report_and_goes_on(tmp_path):
    values = {"stream": STREAM, "editor_settings": BATCHES, "orders": 2, "block": 30}
    tree = small_study(tmp_path / "tree", **values)
    run = tree.snakemake("--cores", "2")
    assert run.returncode == 0, run.stdout
    results = tree.folder / "results/demo"
    page = (results / "report.html").read_text()
    assert "Scores by kind of edit" in page and "of the edits put a fact back" in page
    stream, scores = (read_table(results / f"tables/{name}.parquet", name) for name in ("stream", "scores"))
    runs = [run.reset_index(drop=True) for _, run in stream.groupby(["editor", "order"])]
    assert [len(run) for run in runs] == [EDITS] * 4
    assert runs[0]["target_new"].tolist() == runs[2]["target_new"].tolist()  # the same for every editor
    first, second = (set(run["case_id"]) for run in runs[:2])
    assert not first & second and len(first) < EDITS
    final = scores[scores["moment"] == "final"]
    latest = stream.groupby(["editor", "order", "case_id"])["step"].max()
    judged = final.set_index(["editor", "order", "case_id"])["edited_at"]
    assert judged.sort_index().astype(int).tolist() == latest.sort_index().tolist()
    assert tree.plan().jobs == {}

    tree.change_config(**values, edits=EDITS + SEGMENT)
    plan = tree.plan()
    assert plan.jobs["edit"] == plan.jobs["measure"] == 4
