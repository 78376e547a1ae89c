"""Locks of runs that share a folder, the end of a run's processes, and folders without room."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normgrowth.errors import RunError
from normgrowth.workflow import forks, locks, processes
from normgrowth.workflow.locks import folder_lock, held_in
from normgrowth.workflow.run_records import Access, Lock, locks_in
from normgrowth.workflow.snakemake_lock import is_full, without_room

on_linux = pytest.mark.skipif(not processes.this_boot(), reason="processes of a run cannot be found here")
FILES = st.sets(st.sampled_from(["a", "b", "c", "dé é"]), max_size=3)

HEAD = """
import os, socket, sys, time
from pathlib import Path
from subprocess import Popen
from normgrowth.workflow import forks
from normgrowth.workflow import processes
from normgrowth.workflow.locks import folder_lock
from normgrowth.workflow.run_records import Access

folder, clients = Path(sys.argv[1]), int(sys.argv[2])
with folder_lock(folder, "study", "local", Access({"a"}, {"b"})):
    forks.start(1)
    os.environ |= dict.fromkeys(forks.THREAD_VARIABLES, "1")
    place = Path(os.environ[forks.VARIABLE]) / forks._name()
    while clients and not place.exists():
        time.sleep(0.01)
    if clients:  # commands whose forks wait for somebody to write
        os.mkfifo(folder / "facts")
        command = [sys.executable, "-m", "normgrowth.cli", "import-facts", "--path", folder / "facts", "--out", "x"]
        running = [Popen(command) for _ in range(4)]
        while len(processes.of_run(os.environ["NORMGROWTH_RUN"], "")) < 1 + 2 * len(running):
            time.sleep(0.01)
    lines = [socket.socket(socket.AF_UNIX) for _ in range(clients)]
    for line in lines:
        line.connect(str(place))
        socket.send_fds(line, [forks.LENGTH.pack(10)], [0, 1, 2])  # and says no more
    print(os.environ["NORMGROWTH_RUN"], os.environ[forks.VARIABLE], flush=True)
    time.sleep(600)
"""


@pytest.fixture
def unwatched(monkeypatch):
    monkeypatch.setattr(locks, "_watched", lambda run: None)


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def head(folder, clients=0):
    """A process that holds a lock and has a process that awaits commands, its run, and the folder of its socket."""
    environment = {name: value for name, value in os.environ.items() if name != forks.VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(folder), str(clients)], stdout=subprocess.PIPE, text=True, env=environment
    )
    run, place = process.stdout.readline().split()
    return process, run, Path(place)


def watchers(run):
    listed = subprocess.run(["pgrep", "-f", f"workflow.processes {run}"], capture_output=True, text=True).stdout
    return [int(word) for word in listed.split()]


@settings(max_examples=60, deadline=None)
@given(FILES, FILES, FILES, FILES)
def test_runs_go_on_side_by_side_if_neither_writes_what_the_other_uses(tmp_path_factory, r1, w1, r2, w2):
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as first:
        patch.setattr(locks, "_watched", lambda run: None)
        first.enter_context(folder_lock(folder, "first", "local", Access(r1, w1)))
        held = set(os.listdir(folder / "locks"))
        clash = bool(w1 & (r2 | w2) or w2 & r1)
        try:
            with folder_lock(folder, "second", "local", Access(r2, w2)):
                assert not clash
                (own,) = (lock for lock in locks_in(folder / "locks") if lock.run.study == "second")
                assert own.paths("input") == r2 and own.paths("output") == w2 and own.is_held()
        except RunError as error:
            assert clash
            assert "study 'first'" in str(error) and f"process {os.getpid()} " in str(error)
            assert any(f"s {path}. Wait" in str(error) for path in w1 & (r2 | w2) | w2 & r1)
        assert set(os.listdir(folder / "locks")) == held
        first.close()
        assert os.listdir(folder / "locks") == [] and processes.RUN not in os.environ


def test_a_plan_that_another_run_has_outdated_is_not_run(tmp_path, unwatched):
    with folder_lock(tmp_path, "first", "local", Access({"a"}, {"b"})):
        planned_beside = held_in(tmp_path)
        with folder_lock(tmp_path, "beside", "local", Access({"a"}, {"c"}), planned_beside):
            pass
    with (
        pytest.raises(RunError, match="ended while this one was planned, and may have changed b"),
        folder_lock(tmp_path, "second", "local", Access({"b"}, {"d"}), planned_beside),
    ):
        pass
    with folder_lock(tmp_path, "third", "local", Access({"a"}, {"c"}), planned_beside):
        pass


def test_what_a_run_did_not_finish_writing_is_of_nobody(tmp_path, unwatched, capsys):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/0.run.json").write_text('{"name": ')
    with folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})):
        assert sorted(os.listdir(tmp_path / "locks")) == ["0.input.lock", "0.output.lock", "0.run.json"]
    assert capsys.readouterr().err == ""


def test_a_damaged_record_is_not_taken_over(tmp_path, unwatched):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/0.run.json").write_text("")
    (tmp_path / "locks/0.output.lock").write_text("b\n")
    with (
        pytest.raises(RunError, match=r"by lock 0 in .*, an unknown run writes b\. .*`snakemake --unlock`"),
        folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})),
    ):
        pass


def test_a_lock_that_has_no_room_leaves_nothing(tmp_path, unwatched, monkeypatch):
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with (
        pytest.raises(OSError, match="No space left") as caught,
        folder_lock(tmp_path, "s", "local", Access({"a"}, {"b"})),
    ):
        pass
    assert os.listdir(tmp_path / "locks") == [] and is_full(caught.value)


@on_linux
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_awaits_commands_ends_with_its_run_while_it_imports(tmp_path, watched):
    process, run, place = head(tmp_path)
    assert processes.of_run(run, "") and place.is_dir()
    if not watched:
        for one in until(lambda: watchers(run), 10):
            os.kill(one, signal.SIGKILL)
        time.sleep(1)  # it has asked to end with its run
    process.kill()
    process.communicate()
    until(lambda: not processes.of_run(run, ""), 5)
    if watched:
        until(lambda: not place.exists(), 5)
    (lock,) = locks_in(tmp_path / "locks")
    assert not lock.is_held()


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_awaits_commands_ends_with_its_run_under_64_clients(tmp_path, watched):
    process, run, _ = head(tmp_path, clients=64)
    assert len(processes.of_run(run, "")) >= 9
    if not watched:
        os.kill(*watchers(run), signal.SIGKILL)
    process.kill()
    process.communicate()
    until(lambda: not processes.of_run(run, ""), 5)


@on_linux
def test_a_run_that_ends_by_itself_leaves_no_process_and_no_folder(tmp_path):
    process, run, place = head(tmp_path)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert processes.of_run(run, "") == [] and watchers(run) == []
    assert not place.exists() and os.listdir(tmp_path / "locks") == []


@on_linux
@pytest.mark.parametrize("variable", processes.ALLOCATIONS)
def test_jobs_of_a_cluster_are_not_of_the_run_that_submitted_them(variable):
    environment = os.environ | {processes.RUN: "a run"}
    here, there = processes.allocation_of(environment), processes.allocation_of(environment | {variable: "7"})
    assert f"{variable}=7" in there and here != there
    ours = subprocess.Popen(["sleep", "60"], env=environment)
    job = subprocess.Popen(["sleep", "60"], env=environment | {variable: "7"})
    until(lambda: processes.of_run("a run", here) and processes.of_run("a run", there), 5)
    assert processes.end("a run", here, 10) == ({ours.pid}, [])
    assert ours.wait() == -signal.SIGKILL and job.poll() is None
    assert processes.end("a run", there, 10) == ({job.pid}, []) and job.wait() == -signal.SIGKILL


@on_linux
def test_a_killed_run_on_a_cluster_takes_no_job_with_it(tmp_path):
    """The cluster's jobs run on the machine of the run itself, with and without a variable that says so."""
    script = """
import os, subprocess, sys, time
from pathlib import Path
from normgrowth.workflow.locks import folder_lock
from normgrowth.workflow.run_records import Access
with folder_lock(Path(sys.argv[1]), "study", "cluster-generic", Access({"a"}, {"b"})):
    jobs = [subprocess.Popen(["sleep", "60"], env=os.environ | more) for more in ({"PBS_JOBID": "7"}, {})]
    print(*(job.pid for job in jobs), flush=True)
    time.sleep(600)
"""
    environment = os.environ | {processes.RUN: "one around it"}
    call = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment)
    jobs = [int(word) for word in process.stdout.readline().split()]
    try:
        (lock,) = locks_in(tmp_path / "locks")
        assert lock.is_held() and watchers(lock.run.name) == []
        process.kill()
        process.wait()
        assert not lock.is_held()
        for name in (lock.run.name, "one around it"):
            assert processes.end(name, "", 5) == (set(), [])
        with (
            pytest.raises(RunError, match=r"its jobs may go on in the queue \(cluster-generic\)"),
            folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})),
        ):
            pass
        assert all(processes.began(job) for job in jobs)
    finally:
        for job in jobs:
            os.kill(job, signal.SIGKILL)
        process.stdout.close()


def test_a_process_number_that_another_has_by_now_is_no_living_run(tmp_path, unwatched):
    lock = Lock(tmp_path, 0)
    assert not lock.is_held()
    assert processes.began(os.getpid()) and not processes.began(2**22 + 1)


def test_folders_without_room_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: _Full() if path == "results" else real(path))
    assert without_room(["results", "resources"]) == ["results (1.0 MiB free)"]
    assert is_full(RuntimeError()) is False
    inner = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert is_full(ExceptionGroup("several", [ValueError(), inner]))


class _Full:
    f_bavail, f_frsize, f_files, f_favail = 256, 4096, 100, 100


def test_hosts_of_a_shared_folder_are_told_apart(tmp_path, unwatched):
    with folder_lock(tmp_path, "study", "local", Access({"a"}, {"b"})):
        (lock,) = locks_in(tmp_path / "locks")
        assert lock.run.host == socket.gethostname() and not lock.run.is_elsewhere


def test_variables_are_as_before_after_a_while(monkeypatch):
    for before in (None, "before"):
        for value in (None, "meanwhile"):
            monkeypatch.delenv("A_VARIABLE", raising=False)
            if before:
                monkeypatch.setenv("A_VARIABLE", before)
            with processes.variable("A_VARIABLE", value):
                assert os.environ.get("A_VARIABLE") == value
            assert os.environ.get("A_VARIABLE") == before
