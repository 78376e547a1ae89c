"""The command line: lean to start, and one line for an error that a user can act on."""

import errno
import os
import signal
import subprocess
import sys
import types

import pytest

from normgrowth import __version__, cli
from normgrowth.errors import FactError
from normgrowth.jobs.job import Job
from tests.support.signals import HEEDED


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "normgrowth.cli", *arguments], capture_output=True, text=True, timeout=60
    )


def failing(monkeypatch, error: BaseException, *arguments: str) -> int:
    """The exit code when the command's work raises `error`."""

    def run(_):
        raise error

    module = types.SimpleNamespace(Edit=Job, run=run)
    monkeypatch.setattr(cli, "import_module", lambda name: module)
    return cli.main(["edit", *arguments])


def test_help_lists_every_command_with_its_purpose():
    shown = " ".join(run_command("--help").stdout.split())
    for command in cli.COMMANDS:
        assert f" {command} " in shown
    assert "edit Apply one segment of edits to a model and record what they do to it." in shown


def test_version():
    assert run_command("--version").stdout.strip() == f"normgrowth {__version__}"


def test_every_command_declares_its_arguments():
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0


def test_starting_a_command_imports_no_numerical_library():
    script = (
        "import sys; from normgrowth.cli import main\n"
        "try: main(['edit', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'pandas', 'transformers', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FactError("record 3: field 'subject'\n is missing"), "record 3: field 'subject' is missing"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator: can't"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; what was finished before is kept"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.txt"), "x.txt: No such file or directory"),
    ],
)
def test_an_error_of_the_user_is_one_line(monkeypatch, capsys, error, said):
    assert failing(monkeypatch, error) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"normgrowth edit: {said}")


def test_an_interruption_is_one_line(monkeypatch, capsys):
    assert failing(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "normgrowth edit: interrupted; what was finished before is kept\n"


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        failing(monkeypatch, ZeroDivisionError())


def test_debug_shows_where_an_error_comes_from(monkeypatch, capsys):
    def run(_):
        raise FactError("wrong")

    module = types.SimpleNamespace(Edit=Job, run=run)
    monkeypatch.setattr(cli, "import_module", lambda name: module)
    assert cli.main(["--debug", "edit"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("normgrowth edit: wrong\n")


def test_an_unknown_command_is_refused_with_those_known():
    run = run_command("edti")
    assert run.returncode == 2
    assert "import-text" in run.stderr


def test_control_c_ends_with_130(tmp_path):
    fifo = tmp_path / "never-written"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    command = [
        sys.executable,
        "-m",
        "normgrowth.cli",
        "import-text",
        "--paths",
        str(fifo),
        "--out",
        str(tmp_path / "x"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **HEEDED)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert shown == "normgrowth import-text: interrupted; what was finished before is kept\n"


def test_threads_bound_the_numerical_libraries(monkeypatch):
    for variable in cli.THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    cli._limit_threads(3)
    assert {cli.os.environ[variable] for variable in cli.THREAD_VARIABLES} == {"3"}


BUFFERED = os.environ | {"PYTHONUNBUFFERED": ""}
"""Environment in which output to a pipe is written in large pieces, the last of them at the end."""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("plan", "--help"),
        ("plan",),
        ("status",),
        ("schema",),
        ("presets", "list"),
        ("presets", "show", "ft"),
    ],
)
def test_a_reader_that_ends_first_ends_a_command_quietly(words, unbuffered):
    reads, writes = os.pipe()
    os.close(reads)
    environment = BUFFERED | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "normgrowth.cli", *words]
    run = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    os.close(writes)
    assert run.stderr == ""
    swallowed = unbuffered and "--help" in words  # by argparse
    assert run.returncode == (0 if swallowed else 141)


def test_a_reader_of_errors_that_ends_first_ends_a_command_quietly(tmp_path):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "normgrowth.cli", "summary", "--tables", str(tmp_path)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=writes, text=True, timeout=60, env=BUFFERED)
    os.close(writes)
    assert (run.returncode, run.stdout) == (141, "")


def test_a_full_disk_under_what_is_printed_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "normgrowth.cli", "presets", "list"]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=BUFFERED)
    assert run.returncode == 1
    assert run.stderr == "normgrowth presets: the disk is full; what was finished before is kept\n"


def test_a_summary_of_tables_that_do_not_exist_is_one_line(tmp_path, capsys):
    assert cli.main(["summary", "--tables", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("normgrowth summary: ") and "norms.parquet does not exist" in line


def test_settings_nested_without_end_are_one_line(capsys):
    deep = "[" * 1_000_000
    assert (
        cli.main(["world", "--settings", deep, *(f"--{name}=x" for name in ("facts", "text", "heldout", "corpus"))])
        == 1
    )
    assert capsys.readouterr().err == "normgrowth world: the JSON of --settings is nested too deeply to be read\n"


@pytest.mark.parametrize("at", ["results", "results/s", "results/s/runs"])
def test_a_file_where_a_folder_belongs_is_said_before_any_work(tmp_path, capsys, at):
    blocked = tmp_path / at
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("mine")
    out = tmp_path / "results/s/runs/m/e/out"
    assert cli.main(["contexts", "--model", "x", "--seed", "0", "--per-length", "1", "--out", str(out)]) == 1
    said = f"normgrowth contexts: {blocked} is a file, where a folder belongs: move it away and run the same again\n"
    assert capsys.readouterr().err == said
    assert blocked.read_text() == "mine"
