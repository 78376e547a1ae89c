"""Commands run in forks of one process that has imported what is slow to import.

Importing torch and transformers takes longer than most jobs of a small study. So where the workflow runs its jobs on
its own machine, it starts `python -m normgrowth.workflow.forks`, and commands hand over to it their arguments, working
folder, environment and standard streams. Each runs in a fork of its own, so that nothing is shared but the
imported code, and gives the same results as alone. Commands run by themselves while nothing is there to take them.

Forks end with the command that stands for them, with the process that forked them, and by the signals that either gets.
"""

import hashlib
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import mkdtemp
from typing import NoReturn

from normgrowth.workflow.processes import RUN, end_with_parent, temporary_prefix

VARIABLE = "NORMGROWTH_PRELOADED"
"""Environment variable with the folder of the socket on which a process waits for commands. Where it is set to nothing,
no such process is started."""

LONGEST = 107
"""Bytes that the path of a socket may have: `sun_path` of sockaddr_un(7) holds one more, for the end of the text."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Libraries read these once, when they are first imported."""

SLOW = (
    "torch._dynamo",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "peft",
    "pyarrow.parquet",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
    "normgrowth.sources.loading",
    "normgrowth.runs.segment",
    "normgrowth.runs.checkpoint",
)

RELAYED = (signal.SIGINT, signal.SIGTERM)
PATIENCE = struct.pack("ll", 5, 0)  # seconds and microseconds that a command has to say what it wants
LENGTH = struct.Struct("!Q")
CODE = struct.Struct("!i")
UNWRITTEN = 120
"""Python's exit code where the last that it had to say could not be written."""

_started: list[Popen] = []


def start(threads: int) -> None:
    """Start a process that takes the commands of this many threads which this process starts from now on.

    It ends with this process, however that ends. Nothing happens where forks cannot be watched (Linux alone has what it
    takes), and where the environment says that none is to be started. Where the folder of temporary files has too long
    a path for a socket, a line on standard error says so, and commands run by themselves.
    """
    if VARIABLE in os.environ or not _can_watch():
        return
    folder = mkdtemp(prefix=temporary_prefix(os.environ.get(RUN, "")))
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    if (length := len(os.fsencode(os.path.join(os.path.abspath(folder), _name())))) > LONGEST:
        os.rmdir(folder)
        print(
            f"normgrowth: each job will import the libraries by itself, which takes seconds: a socket in "
            f"{os.path.dirname(folder)} would have a path of {length} bytes, and {LONGEST} is the most. Set TMPDIR to "
            "a shorter path",
            file=sys.stderr,
            flush=True,
        )
        return
    command = [sys.executable, "-m", "normgrowth.workflow.forks", folder]
    _started.append(Popen(command, stdin=PIPE, env=environment, start_new_session=True))
    os.environ[VARIABLE] = folder


def _can_watch() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system; a kernel or a container that forbids it
        return False
    return True


def _name() -> str:
    """Name of the socket, which commands find if they are the same code under as many threads."""
    alike = [__file__, sys.prefix, *(os.environ.get(variable, "") for variable in THREAD_VARIABLES)]
    return hashlib.sha256("\n".join(alike).encode()).hexdigest()[:8]


def hand_over(arguments: list[str]) -> int | None:
    """Let the process that waits for commands run one, and return its exit code; None where there is none to do it."""
    if RUN in os.environ:
        end_with_parent()
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(os.path.join(folder, _name()))
        except OSError:  # not ready yet, or gone
            return None
        request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        request["environment"].pop(VARIABLE)
        data = json.dumps(request).encode()
        heeded = [number for number in RELAYED if signal.getsignal(number) != signal.SIG_IGN]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)  # none may be relayed in the midst of the request
        handlers = {number: signal.signal(number, lambda number, _: line.send(bytes([number]))) for number in heeded}
        try:
            try:
                socket.send_fds(line, [LENGTH.pack(len(data))], [0, 1, 2])
                line.sendall(data)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            answer = line.recv(CODE.size, socket.MSG_WAITALL)
        except OSError:
            answer = b""
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if len(answer) < CODE.size:
        print("normgrowth: the process that ran this command has ended; run the workflow again", file=sys.stderr)
        return 1
    (code,) = CODE.unpack(answer)
    if code < 0:  # the fork was killed; who waits for this command is to see just that
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    return code


class Forks:
    """The process that waits for commands."""

    def __init__(self, folder: Path, run: Callable[[list[str]], int]) -> None:
        self.run = run
        self.selector = selectors.DefaultSelector()
        self.running: dict[socket.socket, int] = {}  # what stands for a fork, and its process number
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "new"))
        self.listener.listen(64)
        (folder / "new").rename(folder / _name())  # whoever finds it is answered
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._close)

    def serve(self) -> None:
        """Run commands until whoever started this process has gone, and the last of them has ended."""
        while self.listener.fileno() >= 0 or self.running:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def _close(self, _stdin: int) -> None:
        self.selector.unregister(sys.stdin.fileno())
        self.selector.unregister(self.listener)
        self.listener.close()

    def _accept(self, listener: socket.socket) -> None:
        if listener.fileno() < 0:  # closed by what was found ready with it
            return
        line, _ = listener.accept()
        # One that says nothing must not hold up the others.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
        streams: list[int] = []
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)  # till the fork is ready for them
        try:
            data, streams, _, _ = socket.recv_fds(line, LENGTH.size, 3)
            (length,) = LENGTH.unpack(data)
            request = json.loads(line.recv(length, socket.MSG_WAITALL))
            process = os.fork()
        except (OSError, ValueError, struct.error):  # it ended before it had said what it wanted; no room for a fork
            line.close()
        else:
            if process == 0:
                self._become(request, streams, mask)
            ended = os.pidfd_open(process)
            self.running[line] = process
            self.selector.register(line, selectors.EVENT_READ, self._relay)
            self.selector.register(ended, selectors.EVENT_READ, lambda ended: self._answer(ended, line))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for stream in streams:
                os.close(stream)

    def _relay(self, line: socket.socket) -> None:
        """Pass a signal on; a command that has gone takes its fork with it."""
        if line not in self.running:  # the fork's end was found ready with it
            return
        try:
            numbers = line.recv(16)
        except OSError:
            numbers = b""
        for number in numbers or [signal.SIGKILL]:
            os.kill(self.running[line], number)
        if not numbers:
            self.selector.unregister(line)

    def _answer(self, ended: int, line: socket.socket) -> None:
        self.selector.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(self.running.pop(line), 0)
        if line in self.selector.get_map():
            self.selector.unregister(line)
        with suppress(OSError):  # nobody may wait any more
            line.send(CODE.pack(os.waitstatus_to_exitcode(status)))
        line.close()

    def _become(self, request: dict, streams: list[int], mask: set[signal.Signals]) -> NoReturn:
        """Be the command that was asked for, to its end."""
        code = 1
        try:
            end_with_parent()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            self.selector.close()
            self.listener.close()
            for line in self.running:
                line.close()
            code = _as_alone(self._run, request, mask)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
            print(f"used {most} MB of memory", file=sys.stderr)  # the workflow's records miss what a fork uses
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = code or UNWRITTEN
        finally:
            os._exit(code)  # nothing of what the server has yet to do is the fork's

    def _run(self, request: dict, mask: set[signal.Signals]) -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        return self.run(request["arguments"])


def _as_alone(run: Callable[..., int], *arguments: object) -> int:
    """What the interpreter makes of a command's end."""
    try:
        return run(*arguments)
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return asked.code or 0
        print(asked.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return 1


def serve(folder: Path) -> None:
    """Import what is slow to import, and wait for commands until whoever started this process has gone."""
    from normgrowth.cli import main as run

    if RUN in os.environ:  # who started it ends what it leaves, folder and all
        end_with_parent()
    try:
        for name in SLOW:
            import_module(name)
        Forks(folder, run).serve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
