"""How far runs have come, from what they have left."""

import shutil
from errno import ENOSPC

import pytest

from normgrowth.cli import main
from normgrowth.runs import status as status_module
from normgrowth.runs.status import SegmentProgress, StudyRuns, chains, edits_within, line_of
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study
from tests.support.left_by_jobs import SMALL, leave_measurement, leave_segment


@pytest.fixture
def plan():
    return Plan(read_study(None, [*SMALL]))


def runs_of(plan):
    study = plan.study
    return StudyRuns(study.study, [*plan.chains], plan.segments, study.segment, study.edits)


def test_each_run_has_a_line(plan, tmp_path, monkeypatch):
    leave_segment(tmp_path, "ft", 1)
    monkeypatch.setattr(status_module, "SECONDS_BETWEEN_LINES", 0)
    SegmentProgress(tmp_path / "results/demo/runs/world-gpt2/ft/order-0", 2).update(4)
    one, two = chains(runs_of(plan), tmp_path)
    assert (one.done, one.total, one.per_second) == (plan.study.segment + 4, plan.study.edits, plan.study.segment / 5)
    left = (one.total - one.done) / one.per_second
    assert one.seconds_left == pytest.approx(left)
    assert line_of(one).startswith(f"world-gpt2 ft order 0: {one.done}/{one.total} edits, 2/s, 0:{round(left):02} left")
    assert line_of(two) == f"world-gpt2 emmet order 0: 0/{two.total} edits, waiting"


def test_a_segment_under_way_counts_its_edits_and_leaves_no_file(tmp_path, monkeypatch):
    chain = tmp_path / "order-0"
    assert edits_within(chain, 1) is None
    with SegmentProgress(chain, 1) as progress:
        assert edits_within(chain, 1) == 0
        progress.update(2)  # too soon after the last time
        assert edits_within(chain, 1) == 0
        monkeypatch.setattr(status_module, "SECONDS_BETWEEN_LINES", 0)
        progress.update(3)
        assert (edits_within(chain, 1), edits_within(chain, 2)) == (5, None)
        assert not (chain / "segment-1").exists()
    assert [*chain.iterdir()] == []


def test_a_job_that_fails_leaves_no_count_of_its_edits(tmp_path):
    with pytest.raises(OSError), SegmentProgress(tmp_path, 1):
        raise OSError(ENOSPC, "No space left on device")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"edits": "2"}', b"\xff"])
def test_a_damaged_count_of_edits_is_none_done(tmp_path, content):
    SegmentProgress(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert edits_within(tmp_path, 1) == 0


def test_a_job_goes_on_where_its_progress_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(status_module, "SECONDS_BETWEEN_LINES", 0)
    (tmp_path / "order-0").touch()  # a file where the run's folder belongs
    with SegmentProgress(tmp_path / "order-0", 1) as progress:
        progress.update(1)
    assert (tmp_path / "order-0").is_file()


def test_a_finished_run_says_so(plan, tmp_path, monkeypatch, capsys):
    for editor in ("ft", "emmet"):
        for number in range(1, plan.segments + 1):
            leave_segment(tmp_path, editor, number)
    for point in plan.measured:
        leave_measurement(tmp_path, point.editor, point.step)
    assert all(line_of(status).endswith("edits, done") for status in chains(runs_of(plan), tmp_path))
    shutil.copy("config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["status", "--config", *SMALL, "--watch", "60"]) == 0  # and does not wait: all is done
    assert f"demo: {2 * plan.study.edits} of {2 * plan.study.edits} edits" in capsys.readouterr().out
