"""Commands in forks of a process that waits for them: the same as alone, down to the signal that ends them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from normgrowth.workflow import forks
from tests.support.signals import HEEDED

pytestmark = pytest.mark.skipif(not forks._can_watch(), reason="forks cannot be watched here")

SERVE = """
import os, signal, sys, time
from pathlib import Path
from normgrowth.workflow.forks import Forks

def run(words):
    what, *rest = words
    if what == "echo":
        print(*rest, os.getcwd(), os.environ.get("GIVEN"), sys.stdin.read())
        print("to the log", file=sys.stderr)
    if what == "say":
        print(*rest)
    if what == "wait":
        try:
            print("begun", os.getpid(), flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            return 130
    if what == "fault":
        raise ValueError("a fault")
    if what == "leave":
        sys.exit("that is all")
    return int(rest[0]) if what == "give" else 0

if len(sys.argv) > 2:
    from normgrowth.cli import main as run
Forks(Path(sys.argv[1]), run).serve()
"""
COMMAND = "import sys; from normgrowth.workflow.forks import hand_over; sys.exit(hand_over(sys.argv[1:]))"
ONE_THREAD = dict.fromkeys(forks.THREAD_VARIABLES, "1")


def until(condition):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def gone(process: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def server(tmp_path, request):
    call = [sys.executable, "-c", SERVE, str(tmp_path), *getattr(request, "param", [])]
    buffered = {"PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(call, stdin=subprocess.PIPE, env=os.environ | ONE_THREAD | buffered, **HEEDED)
    until(lambda: [file for file in tmp_path.iterdir() if file.name != "new"])
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def command(server, tmp_path):
    def start(*words: str, **variables: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=os.environ | ONE_THREAD | {forks.VARIABLE: str(tmp_path)} | variables,
            **HEEDED,
        )

    return start


def begun(process: subprocess.Popen) -> int:
    """Process number of the fork of a command that waits."""
    word, number = process.stdout.readline().split()
    assert word == "begun"
    return int(number)


def test_a_command_has_its_own_streams_folder_environment_and_exit_code(command, tmp_path):
    running = [command("echo", f"words {i}", GIVEN=f"given {i}") for i in range(3)]
    for i, process in enumerate(running):
        out, err = process.communicate(f"from outside {i}")
        assert out == f"words {i} {tmp_path} given {i} from outside {i}\n"
        assert err.startswith("to the log\n") and "MB of memory" in err
        assert process.returncode == 0
    assert command("give", "7").wait() == 7


def test_a_fault_shows_its_traceback(command):
    process = command("fault")
    assert "ValueError: a fault" in process.communicate()[1] and process.returncode == 1


def test_a_message_at_exit_is_printed(command):
    process = command("leave")
    assert process.communicate()[1].startswith("that is all\n") and process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_command_ends_as_its_fork_does(command, number):
    process = command("wait")
    os.kill(begun(process), number)
    assert process.wait() == -number


def test_signals_reach_the_fork(command):
    process = command("wait")
    begun(process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    process = command("wait")
    begun(process)
    process.terminate()
    assert process.wait() == -signal.SIGTERM


def test_a_fork_ends_with_its_command_and_others_go_on(command):
    killed, other = command("wait"), command("wait")
    fork, going = begun(killed), begun(other)
    killed.kill()
    until(lambda: gone(fork))
    assert not gone(going)
    assert command("give", "5").wait() == 5
    other.kill()


def test_a_signal_that_comes_with_the_end_of_a_fork_harms_nobody(command, server):
    process, other = command("wait"), command("wait")
    fork, going = begun(process), begun(other)
    server.send_signal(signal.SIGSTOP)  # so that both are found at once
    os.kill(fork, signal.SIGKILL)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    server.send_signal(signal.SIGCONT)
    assert process.wait() == -signal.SIGKILL
    assert command("give", "5").wait() == 5 and not gone(going)
    other.kill()


def test_a_fork_that_cannot_write_fails_and_others_go_on(command, tmp_path):
    code = f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); {COMMAND}"
    environment = os.environ | ONE_THREAD | {forks.VARIABLE: str(tmp_path)}
    failed = subprocess.run([sys.executable, "-c", code, "say", "it"], env=environment)
    assert failed.returncode == forks.OUTPUT_LOST
    assert command("give", "5").wait() == 5


@pytest.mark.parametrize("server", [["the command line"]], indirect=True)
def test_a_reader_that_ends_first_ends_a_fork_quietly(command, tmp_path):
    code = f"import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); {COMMAND}"
    environment = os.environ | ONE_THREAD | {forks.VARIABLE: str(tmp_path)}
    gone = subprocess.run([sys.executable, "-c", code, "presets", "list"], env=environment, stderr=subprocess.PIPE)
    assert gone.returncode == 141
    assert b"MB of memory" in gone.stderr and len(gone.stderr.splitlines()) == 1
    assert command("presets", "list").wait() == 0


def test_what_ends_or_stays_silent_before_it_has_asked_holds_up_nobody(command, server, tmp_path):
    files = Path(f"/proc/{server.pid}/fd")
    before = len(list(files.iterdir()))
    (place,) = tmp_path.iterdir()
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(place))
            socket.send_fds(line, [forks.LENGTH.pack(10)], [0, 1, 2])
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(place))
    assert command("give", "5").wait(60) == 5
    silent.close()
    until(lambda: len(list(files.iterdir())) == before)


def test_forks_end_with_the_process_that_forked_them(command, server):
    process = command("wait")
    fork = begun(process)
    server.kill()
    assert "has ended" in process.communicate()[1] and process.returncode == 1
    until(lambda: gone(fork))


def test_running_commands_are_finished_when_whoever_started_it_has_gone(command, server):
    process = command("wait")
    fork = begun(process)
    server.stdin.close()
    until(lambda: command("give", "5").wait() != 5)  # nothing new is taken
    assert not gone(fork)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert server.wait(60) == 0


def test_a_command_of_other_threads_or_before_it_is_ready_runs_alone(command, tmp_path, monkeypatch):
    assert command("give", "7", OMP_NUM_THREADS="2").wait() == 0  # handed over to nobody
    monkeypatch.setenv(forks.VARIABLE, str(tmp_path / "nowhere"))
    assert forks.hand_over(["give", "7"]) is None
    monkeypatch.setenv(forks.VARIABLE, "")
    assert forks.hand_over(["give", "7"]) is None
    forks.start(1)
    assert not forks._started


@pytest.mark.parametrize("excess", [0, 1])
def test_none_is_started_where_no_socket_would_be_found(tmp_path, monkeypatch, capsys, excess):
    """A socket can be bound under a short name and moved to one that nothing can connect to."""
    shortest = len(os.path.join(forks.temporary_prefix("0" * 16) + "12345678", forks._name()))
    assert shortest + len("/var/tmp/somebody/a-folder-of-their-own/of-a-usual-length/") < forks.LONGEST_PATH
    left = forks.LONGEST_PATH + excess - shortest - len("/")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short, "x" * (left - len(short) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setenv(forks.RUN, "0" * 16)
        monkeypatch.setenv(forks.VARIABLE, "")  # so that what is set here is taken back
        monkeypatch.delenv(forks.VARIABLE)
        called = []
        monkeypatch.setattr(forks, "Popen", lambda command, **_: called.append(command[-1]))
        monkeypatch.setattr(forks, "_started", [])
        forks.start(1)
        if excess:
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{folder} would have a path of 108 bytes, and 107 is the most. Set TMPDIR to a shorter path" in line
            assert called == [] and list(folder.iterdir()) == [] and forks.VARIABLE not in os.environ
            return
        (place,) = called
        assert os.environ[forks.VARIABLE] == place and capsys.readouterr().err == ""
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, place], stdin=subprocess.PIPE, env=os.environ | ONE_THREAD
        )
        try:
            until(lambda: [file for file in Path(place).iterdir() if file.name != "new"])
            call = [sys.executable, "-c", COMMAND, "give", "7"]
            assert subprocess.run(call, env=os.environ | ONE_THREAD).returncode == 7
        finally:
            server.kill()
            server.communicate()
