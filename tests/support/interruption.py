"""Kill an edit chain at random moments, start it again, and compare what it leaves with a chain that nobody disturbed.

    python -m tests.support.interruption COMMANDS TRIALS SEED

runs in the folder of a finished study. COMMANDS is a JSON file: a list of the chain's edits as arguments of the command
line, and the folder of the chain. Prints what was found as JSON. Each run is a fork of a process that has the libraries
imported, and is killed with SIGKILL.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from normgrowth.cli import main
from normgrowth.errors import ArtefactError

TIMES = ("timing.parquet", "speed.parquet")  # differ from run to run


def started(arguments: list[str]) -> int:
    """Process number of a fork that runs a command of normgrowth's, quietly."""
    process = os.fork()
    if process:
        return process
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os._exit(main(arguments))


def ended_within(process: int, seconds: float) -> int | None:
    """The exit status of a process that ends in time; None for one that had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def faults(chain: Path, reference: Path) -> tuple[list[str], list[str]]:
    """Files of a chain that differ from the reference, and that cannot be read; killed writers leave hidden files."""
    from normgrowth.io.tables import read_table
    from normgrowth.io.tensors import read_tensors

    differing, unreadable = [], []
    for file in sorted(p for p in chain.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            read_tensors(file) if file.suffix == ".safetensors" else read_table(file)
        except ArtefactError as error:
            unreadable.append(f"{file}: {error}")
        same = reference / file.relative_to(chain)
        if file.name not in TIMES and (not same.is_file() or file.read_bytes() != same.read_bytes()):
            differing.append(str(file))
    return differing, unreadable


def run_trials(commands: list[list[str]], chain: Path, trials: int, seed: int) -> dict:
    """Start each command until it ends by itself, killed at random moments before; then all from the beginning."""
    reference = chain.with_name(f"{chain.name}-undisturbed")
    shutil.copytree(chain, reference)
    began = time.monotonic()
    shutil.rmtree(chain)
    for command in commands:
        assert ended_within(started(command), 600) == 0, command
    usual = (time.monotonic() - began) / len(commands)
    found = {"kills": 0, "whole_chains": 0, "usual_seconds": usual, "differing": [], "unreadable": []}
    if any(wrong := faults(chain, reference)):
        raise AssertionError(f"the chain is not repeatable: {wrong}")
    draw = random.Random(seed)
    while found["kills"] < trials:
        shutil.rmtree(chain)
        for command in commands:
            while True:
                status = ended_within(started(command), draw.uniform(0, 1.3 * usual))
                differing, unreadable = faults(chain, reference)
                found["differing"] += differing
                found["unreadable"] += unreadable
                if status == 0:
                    break
                assert status is None, f"{command} failed when it was started again"
                found["kills"] += 1
        found["whole_chains"] += 1
        missing = {p.relative_to(reference) for p in reference.rglob("*.*")} - {
            p.relative_to(chain) for p in chain.rglob("*.*")
        }
        found["differing"] += [f"{chain / name}: missing" for name in missing]
    return found


if __name__ == "__main__":
    # What every edit imports, before anything is forked.
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    file, trials, seed = sys.argv[1:]
    given = json.loads(Path(file).read_text())
    print(json.dumps(run_trials(given["commands"], Path(given["chain"]), int(trials), int(seed))))
