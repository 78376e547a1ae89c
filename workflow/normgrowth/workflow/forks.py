"""Fork server: commands run in forks of one process that has imported the slow libraries.

Importing torch and transformers takes longer than most jobs of a small study. So where the workflow runs its jobs on
its own machine, it starts `python -m normgrowth.workflow.forks FOLDER`, and each command hands its arguments, working
folder, environment and standard streams to this server, which runs it in a fork. A fork shares only imported code with
others and gives the same results as a process of its own. Without a server, a command runs by itself.

A fork ends when its command or the server ends, and gets the signals that its command gets.
"""

import gc
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
from pkgutil import resolve_name
from subprocess import PIPE, Popen
from tempfile import mkdtemp
from typing import NoReturn, TypedDict

from normgrowth.workflow.processes import RUN, end_with_parent, temporary_prefix

VARIABLE = "NORMGROWTH_PRELOADED"
"""Environment variable with the folder of the server's socket. Set but empty, it keeps a run from starting a server."""

COMMAND_LINE = "normgrowth.cli:main"
"""Function that runs a command; named, not imported, since the command line imports this module."""

LONGEST_PATH = 107
"""Most bytes in the path of a socket: `sun_path` of unix(7) holds 108 with the terminating null."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables with the number of threads, which libraries read once, when they are first imported."""

SLOW_MODULES = (
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
"""Modules that the server imports before it takes commands."""

RELAYED = (signal.SIGINT, signal.SIGTERM)
"""Signals that a command passes on to its fork."""

REQUEST_TIMEOUT = struct.pack("ll", 5, 0)
"""Timeout of reading a request, as seconds and microseconds of timeval(3type)."""

LENGTH = struct.Struct("!Q")
"""Length of a request in bytes, sent before it."""

CODE = struct.Struct("!i")
"""Exit code of a fork as the server sends it; negative numbers are signals that killed it."""

OUTPUT_LOST = 120
"""Python's exit code where its standard streams could not be flushed at exit."""

Mask = set[signal.Signals | int]
"""Blocked signals, as signal.pthread_sigmask returns them."""

_started: list[Popen[bytes]] = []  # servers, kept so that their standard input stays open as long as this process lives


class Request(TypedDict):
    """A command handed over to the server, its standard streams aside."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def start(threads: int) -> None:
    """Start a server for commands of this many threads that this process starts from now on.

    It ends with this process, however that ends. None is started where forks cannot be watched (systems other than
    Linux) or where the variable `VARIABLE` is set already. Where the folder of temporary files has too long a path for
    a socket, a line on standard error says so, and commands run by themselves.
    """
    if VARIABLE in os.environ or not _can_watch():
        return
    folder = mkdtemp(prefix=temporary_prefix(os.environ.get(RUN, "")))
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    if (length := len(os.fsencode(os.path.join(os.path.abspath(folder), _name())))) > LONGEST_PATH:
        os.rmdir(folder)
        print(
            f"normgrowth: each job will import the libraries by itself, which takes seconds: a socket in "
            f"{os.path.dirname(folder)} would have a path of {length} bytes, and {LONGEST_PATH} is the most. Set "
            "TMPDIR to a shorter path",
            file=sys.stderr,
            flush=True,
        )
        return
    command = [sys.executable, "-m", "normgrowth.workflow.forks", folder]
    _started.append(Popen(command, stdin=PIPE, env=environment, start_new_session=True))
    os.environ[VARIABLE] = folder


def _can_watch() -> bool:
    """True where this system has file descriptors of processes (pidfd_open(2))."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system; a kernel or a container that forbids it
        return False
    return True


def _name() -> str:
    """Name of the socket, the same for all commands of one code under one number of threads."""
    alike = [__file__, sys.prefix, *(os.environ.get(variable, "") for variable in THREAD_VARIABLES)]
    return hashlib.sha256("\n".join(alike).encode()).hexdigest()[:8]


def hand_over(arguments: list[str]) -> int | None:
    """Have the server run a command, and return its exit code; None where no server is ready.

    A command whose fork was killed by a signal is killed by the same signal.
    """
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
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        request = Request(arguments=arguments, folder=os.getcwd(), environment=environment)
        data = json.dumps(request).encode()
        heeded = [number for number in RELAYED if signal.getsignal(number) != signal.SIG_IGN]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)  # no signal may be relayed within the request
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
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


class Forks:
    """The server: it waits for commands and runs each in a fork.

    Args:
        folder: where its socket stands.
        run: runs a command and returns its exit code.
    """

    def __init__(self, folder: Path, run: Callable[[list[str]], int]) -> None:
        self.run = run
        self.selector = selectors.DefaultSelector()
        self.running: dict[socket.socket, int] = {}  # connections of commands, and the process numbers of their forks
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "new"))
        self.listener.listen(64)
        (folder / "new").rename(folder / _name())  # a command that finds it is answered
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._close)

    def serve(self) -> None:
        """Run commands until the process that started this one has ended, and then those that still run."""
        while self.listener.fileno() >= 0 or self.running:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def _close(self, _stdin: int) -> None:
        """Take no more commands."""
        self.selector.unregister(sys.stdin.fileno())
        self.selector.unregister(self.listener)
        self.listener.close()

    def _accept(self, listener: socket.socket) -> None:
        """Start the fork of a command."""
        if listener.fileno() < 0:  # closed by what was found ready with it
            return
        line, _ = listener.accept()
        # A silent client must not hold up the others.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, REQUEST_TIMEOUT)
        streams: list[int] = []
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)  # until the fork is ready for them
        try:
            data, streams, _, _ = socket.recv_fds(line, LENGTH.size, 3)
            (length,) = LENGTH.unpack(data)
            request = json.loads(line.recv(length, socket.MSG_WAITALL))
            process = os.fork()
        except (OSError, ValueError, struct.error):  # the command ended before its request did, or fork(2) failed
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
        """Pass a command's signals on to its fork; kill the fork of a command that has ended."""
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
        """Send a fork's exit code to its command."""
        self.selector.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(self.running.pop(line), 0)
        if line in self.selector.get_map():
            self.selector.unregister(line)
        with suppress(OSError):  # the command may have ended
            line.send(CODE.pack(os.waitstatus_to_exitcode(status)))
        line.close()

    def _become(self, request: Request, streams: list[int], mask: Mask) -> NoReturn:
        """Run the command that was asked for in this process, which is its fork, and exit."""
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
            code = _exit_code(lambda: self._run(request, mask))
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
            print(f"used {most} MB of memory", file=sys.stderr)  # the workflow's records miss what a fork uses
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = code or OUTPUT_LOST
        finally:
            os._exit(code)  # without the server's own handlers of its exit

    def _run(self, request: Request, mask: Mask) -> int:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        return self.run(request["arguments"])


def _exit_code(run: Callable[[], int]) -> int:
    """Exit code that the interpreter would give a function's end, whose message or traceback is printed."""
    try:
        return run()
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return asked.code or 0
        print(asked.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    return 1


def serve(folder: Path) -> None:
    """Import the slow modules, and run commands until the process that started this one has ended."""
    if RUN in os.environ:  # the run cleans up after this process, folder included
        end_with_parent()
    try:
        run = resolve_name(COMMAND_LINE)
        for name in SLOW_MODULES:
            import_module(name)
        _make_ready()
        Forks(folder, run).serve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_ready() -> None:
    """Do once what every fork would do again: together it takes most of a second of each."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # slow: commands do not import it

    get_checkpoint_conversion_mapping("gpt2")  # transformers compiles the rules of all models, and keeps them
    gc.collect()
    gc.freeze()  # a fork's collector would go through all that was imported, and copy its pages


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
