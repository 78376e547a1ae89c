"""The time that a study has left follows what is done of it."""

import pytest

from normgrowth.cli import main
from normgrowth.runs.time_left import Work, measurements, seconds_left
from tests.support.left_by_jobs import SMALL, leave_measurement, leave_segment
from tests.workflow.conftest import ROOT


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        ([Work("a", "ft", 10, 2.0)], 20),
        ([Work("a", "ft", 0, 2.0), Work("a", "ft", 5, None)], 10),  # another order of the editor
        ([Work("a", "ft", 0, 2.0), Work("a", "memit", 0, 4.0), Work("a", "rome", 10, None)], 30),  # other editors
        ([Work("a", "ft", 1, 2.0), Work("a", "memit", 0, 4.0), Work("a", "memit", 10, None)], 42),
        ([Work("a", "ft", 1, 2.0), Work("b", "ft", 1, None)], None),  # another model tells nothing
        ([Work("a", "ft", 0, None)], 0),
        ([], 0),
    ],
)
def test_what_is_not_begun_takes_as_long_as_what_is_most_like_it(work, seconds):
    assert seconds_left(work) == seconds


def test_measurements_take_what_snakemakes_records_say(tmp_path):
    leave_measurement(tmp_path, "unedited", 0, 3.0)
    leave_measurement(tmp_path, "ft", 10)  # its record is lost
    points = [("world-gpt2", "unedited", 0, 0), ("world-gpt2", "ft", 0, 10), ("world-gpt2", "ft", 0, 20)]
    assert measurements("demo", points, tmp_path) == [
        Work("world-gpt2", "unedited", 0, 3.0),
        Work("world-gpt2", "edited", 0, None),
        Work("world-gpt2", "edited", 1, None),
    ]


def test_the_command_says_it_for_the_whole_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    given = ["status", "--jobs", "2", "--config", *SMALL]
    assert main(given) == 0
    assert "demo: 0 of 100 edits, 0 of 11 measurements, time left not known yet" in capsys.readouterr().out
    leave_segment(tmp_path, "ft", 1)  # 10 edits in 5 seconds
    assert main(given) == 0
    assert "edits about 0:22 at 2 jobs at once; no measurement has been timed yet" in capsys.readouterr().out
    leave_measurement(tmp_path, "unedited", 0, 1.0)
    leave_measurement(tmp_path, "ft", 10, 3.0)
    assert main(given) == 0
    # 90 edits of half a second and 9 measurements of 3
    assert "demo: 10 of 100 edits, 2 of 11 measurements, about 0:36 left at 2 jobs at once" in capsys.readouterr().out
