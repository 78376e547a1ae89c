"""Progress: a bar on a terminal, a line now and then in a log."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from normgrowth import progress
from normgrowth.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    with Progress(100, "edits") as shown:
        for _ in range(100):
            clock[0] += 1.0
            shown.update(note="norm 1.5")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[0] == "edits: 0/100"
    assert lines[1] == "edits: 5/100, 1/s, 1:35 left, norm 1.5"
    assert lines[-1] == "edits: 100/100, 1/s, 1:40, norm 1.5"


def test_quick_work_is_its_beginning_and_its_end(clock, capsys):
    with Progress(3, "facts") as shown:
        clock[0] += 0.5
        shown.update(3)
    assert capsys.readouterr().err == "facts: 0/3\nfacts: 3/3, 6/s, 0:00\n"


def test_the_last_line_says_how_far_failed_work_came(clock, capsys):
    with pytest.raises(ValueError), Progress(10, "edits") as shown:
        clock[0] += 2
        shown.update(4)
        raise ValueError
    assert capsys.readouterr().err == "edits: 0/10\nedits: 4/10, 2/s, 0:03 left\n"


def test_work_without_parts_divides_by_nothing(clock, capsys):
    with Progress(0, "nothing"):
        pass
    assert capsys.readouterr().err == "nothing: 0/0\n"


def test_a_terminal_gets_a_bar():
    script = "from normgrowth.progress import Progress\nwith Progress(2, 'edits') as p:\n    p.update(2, note='n')"
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    subprocess.run([sys.executable, "-c", script], stderr=slave, check=True)
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert "0/2" in shown
    assert "edits: 2/2" in shown
