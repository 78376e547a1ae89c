"""Snakemake in forks of a process that has imported it: importing takes longer than a dry run does.

A fork is what `python -m snakemake` is but for the imports: it has the working directory, the environment, the paths of
modules and the end of a process of its own, and none of normgrowth's modules.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

PATIENCE = 600
"""Seconds that a run may take."""


def run_snakemake(arguments: list[str], cwd: Path, environment: dict[str, str], output: Path) -> int:
    """The exit code of a run, which writes what it prints to a file.

    Raises:
        TimeoutError: for a run that does not end.
    """
    server = _server()
    request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "output": str(output)}
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    if not select.select([server.stdout], [], [], PATIENCE)[0]:
        os.killpg(server.pid, signal.SIGKILL)
        _server.cache_clear()
        raise TimeoutError(f"snakemake {' '.join(arguments)} did not end:\n{output.read_text()}")
    return int(server.stdout.readline())


@cache
def _server() -> subprocess.Popen:
    """The process that forks, of this worker of pytest."""
    server = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        start_new_session=True,
    )
    atexit.register(server.kill)
    return server


def serve() -> None:
    """Fork for each line of the input, one after another, and print the fork's exit code."""
    import snakemake.cli  # noqa: F401 - here, since the tests' own process needs none of it

    plain = list(sys.path)
    gc.freeze()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if process := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
            continue
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        with open(os.devnull) as nothing, open(request["output"], "w") as output:
            for file, number in ((nothing, 0), (output, 1), (output, 2)):
                os.dup2(file.fileno(), number)
        sys.path[:] = [request["cwd"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *plain]
        sys.argv[1:] = request["arguments"]
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
        return


if __name__ == "__main__":
    serve()
