"""Folders of several users, and runs that cannot be looked at."""

import errno
import fcntl
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from normgrowth.errors import RunError
from normgrowth.workflow import locks, processes
from normgrowth.workflow.locks import folder_lock, held_in
from normgrowth.workflow.run_records import Access, Lock, Run, locks_in


@pytest.fixture
def unwatched(monkeypatch):
    monkeypatch.setattr(locks, "_watched", lambda run: None)


def killed(folder, process=2**22 + 1):
    """The lock of a run that was killed; no process has this number."""
    (folder / "locks").mkdir(parents=True)
    lock = Lock(folder / "locks", 0)
    run = replace(Run.this_one("a killed run", "study", "local"), process=process, process_began="1")
    os.close(lock.take(run, Access({"a"}, {"b"})))
    return lock


def test_where_processes_are_not_shown_the_user_is_asked_to_look(tmp_path, unwatched, monkeypatch, capsys):
    monkeypatch.setattr(processes, "are_seen", lambda: False)
    monkeypatch.setattr(processes, "this_boot", lambda: "")
    monkeypatch.setattr(processes, "_numbers", lambda: iter(()))
    killed(tmp_path)
    with folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "has ended; this system does not show jobs that it may have left behind: look for `normgrowth` with" in line


def test_a_run_that_cannot_be_looked_at_has_not_ended(tmp_path, unwatched, monkeypatch):
    """Its file cannot be held, and the system hides the processes of others."""
    lock = killed(tmp_path, process=1)

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock.is_held() is False  # another process has its number
    monkeypatch.setattr(processes, "began", lambda process: "")
    assert lock.is_held() is None
    with (
        pytest.raises(
            RunError, match=r"of user \w+, writes b, and this system does not show if it goes on\. Wait"
        ) as caught,
        folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})),
    ):
        pass
    assert "has ended without" not in str(caught.value) and list(held_in(tmp_path)) == ["a killed run"]
    lock.run = replace(lock.run, process=2**22 + 1)
    assert lock.is_held() is False


@contextmanager
def another_user():
    """Be a user without rights for a while."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000], ids=oct)
def test_a_folder_of_two_users_is_shared_or_its_owner_named(unwatched, umask):
    with tempfile.TemporaryDirectory() as name, ExitStack() as after:
        after.callback(os.umask, os.umask(umask))
        os.chmod(name, 0o755)
        folder = Path(name, ".snakemake")
        with folder_lock(folder, "first", "local", Access({"a"}, {"b"})):
            modes = {
                file.name: file.stat().st_mode & 0o777 for file in (folder / "locks.guard", folder / "locks/0.run.json")
            }
            assert set(modes.values()) == {0o666 & ~umask}
            with another_user():
                with pytest.raises(RunError) as same, folder_lock(folder, "second", "local", Access({"b"}, {"c"})):
                    pass
                if umask == 0:
                    with folder_lock(folder, "second", "local", Access({"d"}, {"c"})):
                        assert len(locks_in(folder / "locks")) == 2
                else:
                    with pytest.raises(RunError) as other, folder_lock(folder, "second", "local", Access({"d"}, {"c"})):
                        pass
                    assert "is closed to this user, and belongs to user root. Let" in str(other.value)
                    assert "\n" not in str(other.value)
            told = "belongs to user root" if umask == 0o077 else f"study 'first' (process {os.getpid()} "
            assert told in str(same.value)
        assert os.listdir(folder / "locks") == []
