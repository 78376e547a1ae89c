"""The command line: commands for users, then one per rule of the workflow, each in a file of `normgrowth.commands`."""

import ast
import errno
import json
import os
import signal
import sys
import traceback
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from normgrowth import __version__
from normgrowth.errors import NormgrowthError, StudyError, UsageError
from normgrowth.io.atomic import require_place
from normgrowth.workflow.forks import THREAD_VARIABLES, hand_over

if TYPE_CHECKING:
    from normgrowth.jobs.job import Job

OF_USERS = ("plan", "presets", "status", "summary", "complete", "export", "vet", "schema")
OF_WORKFLOW = (
    "world",
    "train",
    "fetch-model",
    "fetch-file",
    "import-model",
    "import-gguf",
    "included-facts",
    "import-facts",
    "import-text",
    "write-text",
    "known-facts",
    "contexts",
    "statistics",
    "null-spaces",
    "hypernetwork",
    "check-editable",
    "intervene",
    "edit",
    "single-edits",
    "measure",
    "extract",
    "evaluate",
    "collect",
    "draw",
    "card",
    "claims",
    "provenance",
    "report",
    "preflight",
)
COMMANDS = OF_USERS + OF_WORKFLOW

OUTPUTS = ("out", "out_json", "out_md", "json_", "chain", "to")
"""Job fields that name outputs: a path that cannot be written is refused before any work."""

READER_GONE = 128 + signal.SIGPIPE
"""Exit code after the reader of the output ended first, as in `| head`: the shell's code for death by SIGPIPE."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 1, and one line on stderr, for an error that a user can act on.

    Without `arguments`, the command line of this process is run, if possible in a fork of the fork server.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        if (code := hand_over(arguments)) is not None:
            return code
    try:
        return _run(arguments)
    except BrokenPipeError:
        return READER_GONE
    finally:
        _give_up_broken_streams()


def _run(arguments: list[str]) -> int:
    # Only the command that runs is imported: starting must not cost what it does not use.
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    command = chosen if chosen in COMMANDS else None
    try:
        module = import_module(_module_name(command)) if command else None
        job = _job(arguments, command, module)
        assert module is not None  # without a command, the parser has ended the program
        for name in OUTPUTS:
            if path := getattr(job, name, None):
                require_place(path)
        _limit_threads(getattr(job, "threads", None))
        module.run(job)
        _tell_gpu_memory()
        _flush()
    except BrokenPipeError:
        raise
    except UsageError as error:
        return _stop(command, str(error), 2)
    except KeyboardInterrupt:
        return _stop(command, "interrupted; what was finished before is kept", 130)
    except Exception as error:
        message = _for_the_user(error)
        if message is None:
            raise  # a fault of this program: its traceback is what helps
        if "--debug" in arguments:
            traceback.print_exc()
        return _stop(command, message, 1)
    return 0


def _job(arguments: list[str], command: str | None, module: ModuleType | None) -> "Job":
    """The job that the words of the command line describe.

    Raises:
        SystemExit: after help or the version was shown, and with code 2 for words that are no options.
        UsageError: naming the options whose values are wrong.
    """
    # pydantic: kept out of a command that a fork runs, whose own process only hands it over
    from normgrowth.jobs.command_line import Parser, add_options, read
    from normgrowth.jobs.job import Job

    parser = Parser(prog="normgrowth", description=__doc__)
    parser.add_argument("--version", action="version", version=f"normgrowth {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command", title="commands")
    kind = getattr(module, _class_name(command)) if command else Job
    for name in (command,) if command else COMMANDS:
        options = commands.add_parser(name, help=_summary(name), description=_summary(name))
        if command:
            add_options(options, kind)
    try:
        _refuse_deep_json(arguments)
        given = vars(parser.parse_args(arguments))
    finally:
        _flush()  # help, where that was asked for
    return read(kind, given)


def _refuse_deep_json(arguments: list[str]) -> None:
    """Refuse settings nested too deeply for the JSON reader; text that is no JSON is left to the check of its field."""
    for name, value in pairwise(arguments):
        if value.startswith(("{", "[")):
            try:
                json.loads(value)
            except ValueError:
                continue
            except RecursionError as error:
                raise StudyError(f"the JSON of {name} is nested too deeply to be read") from error


def _flush() -> None:
    # Flushed here: at interpreter exit, a failure would only print a warning.
    if sys.stdout is not None:
        sys.stdout.flush()


def _give_up_broken_streams() -> None:
    """Redirect broken streams to the null device, so that the interpreter does not flush them again at exit."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _module_name(command: str) -> str:
    return f"normgrowth.commands.{command.replace('-', '_')}"


def _class_name(command: str) -> str:
    return command.title().replace("-", "")


def _summary(command: str) -> str:
    """First line of a command's docstring, read without importing it."""
    file = Path(__file__).parent / "commands" / f"{command.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(file.read_bytes())) or "").split("\n")[0]


def _limit_threads(threads: int | None) -> None:
    # Libraries read these once, when they are first imported.
    for variable in THREAD_VARIABLES if threads else ():
        os.environ.setdefault(variable, str(threads))


def _tell_gpu_memory() -> None:
    """Print peak GPU memory to the log, where the report reads it; Snakemake's own records do not cover GPUs."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        most = sum(torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count()))
        print(f"used {most // 2**20} MB of GPU memory", file=sys.stderr)


def _for_the_user(error: Exception) -> str | None:
    """One line for an error that a user can act on; None for any other."""
    if isinstance(error, NormgrowthError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate" in str(error):
        return f"out of memory: {error}" if str(error) else "out of memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{f': {error.filename}' if error.filename else ''}; what was finished before is kept"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return None


def _stop(command: str | None, message: str, code: int) -> int:
    words = " ".join(filter(None, ("normgrowth", command)))
    print(f"{words}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
