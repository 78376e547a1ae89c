"""Kill jobs, their server or whole runs at random moments, start again, and compare with a run that nobody disturbed.

    python benchmarks/kills.py [TRIALS] [SEED] [FOLDER] [FIRST]

The finished study that trials begin with is kept in FOLDER, for the next time; FIRST is the number of the first trial.
Each trial takes a finished study, deletes what one job made, runs `snakemake` for it, kills one process with SIGKILL
and runs the same command once more, without `--unlock`. Then every file must be what it was. Rules and victims come in
turn. Left out of the comparison are wall times: the files `timing` and `speed` of a segment and their table, the column
`edit_seconds` of the table `edits`, and the report page, which shows them and only has to be whole.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from normgrowth.io.tables import read_table
from normgrowth.workflow import forks, processes

ROOT = Path(__file__).resolve().parents[1]
RULES = ("world", "train", "contexts", "statistics", "null_spaces", "hypernetwork", "check_editable", "edit")
RULES += ("single_edits", "intervene", "measure", "extract", "collect", "draw", "claims", "provenance", "report")
VICTIMS = ("job", "server", "head")
TIMES = ("timing.parquet", "speed.parquet", "report.html", "report.html.sha256")
PATIENCE = 300  # seconds in which a run of one job must end
ATTEMPTS = 5  # at killing a job in time
WARM, OWN, NONE = "warm", "own", "no"
"""Servers of jobs: one that has imported everything, one that the run starts and that still imports, or none at all."""
REPLACED = {"train": ("check_editable",)}  # the folder that a rule replaces holds outputs of others too


@dataclass(frozen=True)
class Job:
    """A job of the finished study."""

    rule: str
    outputs: tuple[str, ...]
    log: str
    seconds: float


class Study:
    """A finished study, and a copy of it in which jobs are made again."""

    def __init__(self, folder: Path) -> None:
        self.reference, self.folder = folder / "reference", folder / "trial"
        self.reference.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "benchmarks/kills.yaml", self.reference / "config.yaml")
        head = self.start(self.reference)  # only what the last trials in this folder did not have
        said, _ = head.communicate()
        if head.returncode:
            raise RuntimeError(f"the study did not run:\n{said}")
        self.jobs = list(jobs_of(self.reference))
        self.expected = contents(self.reference)

    def start(self, folder: Path, *arguments: str, server: str = WARM) -> subprocess.Popen:
        """Snakemake as a user starts it, with one of these servers of jobs."""
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        if server == OWN:
            environment.pop(forks.VARIABLE, None)
        elif server == NONE:
            environment[forks.VARIABLE] = ""
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", *arguments]
        return subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def without(self, job: Job) -> tuple[str, ...]:
        """Make the copy anew, as it was before this job; returns the files to make."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.reference, self.folder, symlinks=True)
        beside = [other for other in self.jobs if other.rule in REPLACED.get(job.rule, ())]
        outputs = tuple(output for one in (job, *beside) for output in one.outputs)
        for file in (*outputs, job.log):
            (self.folder / file).unlink()
        return outputs


def jobs_of(folder: Path) -> Iterator[Job]:
    """The jobs of a finished study, by Snakemake's records of their outputs."""
    outputs: dict[tuple[str, str], list[str]] = {}
    for file in (folder / ".snakemake/metadata").rglob("*"):
        if file.is_file():
            record = json.loads(file.read_text())
            name = "".join(file.relative_to(folder / ".snakemake/metadata").parts).replace("@", "")
            outputs.setdefault((record["rule"], *record["log"]), []).append(urlsafe_b64decode(name).decode())
    for (rule, log), paths in sorted(outputs.items()):
        times = json.loads((folder / log).with_suffix(".benchmark.jsonl").read_text())
        yield Job(rule, tuple(sorted(paths)), log, float(times["s"]))


def contents(folder: Path) -> dict[str, bytes]:
    """What a study left, file by file, without wall times. Killed writers leave hidden files, which nothing reads."""
    found = {}
    for file in (file for part in ("results", "resources") for file in (folder / part).rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            found[str(file.relative_to(folder))] = without_times(file)
    return found


def without_times(file: Path) -> bytes:
    """The bytes of a file, or what of it does not differ from run to run."""
    if file.parent.name == "tables" and file.name == "edits.parquet":
        return read_table(file).drop(columns="edit_seconds").to_csv().encode()
    if file.name == "report.html":
        return file.read_bytes().rstrip()[-7:]
    return b"" if file.name in TIMES else file.read_bytes()


def differences(study: Study) -> list[str]:
    """What a trial left that is not as it was."""
    found = contents(study.folder)
    wrong = [f"{name} differs" for name in found.keys() & study.expected.keys() if found[name] != study.expected[name]]
    wrong += [f"{name} is missing" for name in study.expected.keys() - found.keys()]
    wrong += [f"{name} is new" for name in found.keys() - study.expected.keys()]
    for part in ("locks", "incomplete"):
        wrong += [f"{file} is left" for file in (study.folder / ".snakemake" / part).rglob("*") if file.is_file()]
    return sorted(wrong)


@contextmanager
def warm_server() -> Iterator[list[subprocess.Popen]]:
    """A process that forks for commands, so that trials do not wait for imports; the last one of the list is used."""
    before = os.environ.pop(forks.VARIABLE, None)
    forks.start(1)
    try:
        yield forks._started
    finally:
        for server in forks._started:
            server.kill()
            server.communicate()
        forks._started.clear()
        shutil.rmtree(os.environ.pop(forks.VARIABLE), ignore_errors=True)
        if before is not None:
            os.environ[forks.VARIABLE] = before


def started_by(process: int) -> list[int]:
    """The children of a process."""
    try:
        return [int(word) for task in Path(f"/proc/{process}/task").iterdir() for word in _words(task / "children")]
    except OSError:
        return []


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().replace("\0", " ").split()
    except OSError:
        return []


def commands_of(head: int) -> list[int]:
    """The commands that a run has started, by way of shells or not."""
    found, looked = [], started_by(head)
    while looked:
        process = looked.pop()
        looked += started_by(process)
        if any(word.endswith("/normgrowth") for word in _words(Path(f"/proc/{process}/cmdline"))[:2]):
            found.append(process)
    return found


def server_of(head: int) -> list[int]:
    """The process that a run has started to fork for its commands."""
    return [one for one in started_by(head) if "normgrowth.workflow.forks" in _words(Path(f"/proc/{one}/cmdline"))]


def victims(kind: str, head: int, server: int | None, draw: random.Random) -> list[int]:
    """The processes that may be killed now. A job is its command and, if there is one, the fork that does the work."""
    if kind == "head":
        return [head]
    if kind == "server":
        return [server] if server else server_of(head)
    commands = commands_of(head)
    forks = started_by(server) if server and commands else []
    return draw.choice([forks or commands, commands])


def trial(study: Study, number: int, seed: int, servers: list[subprocess.Popen]) -> tuple[str, list[str]]:
    """Kill once and start again; returns what was done and what is wrong."""
    draw = random.Random(f"{seed}-{number}")
    rule = RULES[number % len(RULES)]
    kind = VICTIMS[(number % len(RULES) + number // len(RULES)) % len(VICTIMS)]
    job = draw.choice([job for job in study.jobs if job.rule == rule])
    server = draw.choice([WARM, WARM, OWN if kind == "server" else NONE])
    moment = draw.uniform(0, job.seconds)
    for _ in range(ATTEMPTS):
        outputs = study.without(job)
        head = study.start(study.folder, *outputs, server=server)
        warm = servers[-1].pid if server == WARM else None
        if killed := _killed(study, head, job, kind, moment, warm, draw):
            break
        moment /= 2  # it ended before
    said, _ = head.communicate(timeout=PATIENCE)
    locked = any((study.folder / ".snakemake/locks").iterdir())
    if kind == "server" and server == WARM and killed:
        servers[-1].wait()
        shutil.rmtree(os.environ.pop(forks.VARIABLE), ignore_errors=True)
        forks.start(1)
    again = study.start(study.folder, *outputs)
    said_again, _ = again.communicate(timeout=PATIENCE)
    wrong = differences(study)
    if again.returncode:
        wrong.append(f"the second run failed:\n{said}\n{said_again}")
    if locked != ("taking over the lock" in said_again):
        wrong.append(f"the lock {'was not' if locked else 'should not be'} taken over:\n{said_again}")
    when = f"at {moment:.2f} of {job.seconds:.2f} s" if killed else "too late"
    return f"{rule:13} {kind:6} ({server} server) {when:20} exit {head.returncode:3}", wrong


def _killed(
    study: Study, head: subprocess.Popen, job: Job, kind: str, moment: float, server: int | None, draw: random.Random
) -> bool:
    """Kill a process of a run so long after its job began; False where the run ended before."""
    log = study.folder / job.log
    _until(lambda: log.exists() or head.poll() is not None)
    time.sleep(moment)
    chosen: list[int] = []
    _until(lambda: head.poll() is not None or chosen.extend(victims(kind, head.pid, server, draw)) or chosen)
    if head.poll() is not None:
        return False
    try:
        os.kill(draw.choice(chosen), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a run did not get to the moment of its kill")
        time.sleep(0.002)


def main(trials: int = 200, seed: int = 0, kept: str | None = None, first: int = 0) -> int:
    """Run trials from the first on, a line each; returns how many went wrong. The finished study stays in the folder
    `kept`, if one is given."""
    if not processes.this_boot():
        sys.exit("processes of a run cannot be found on this system")
    failed = late = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder, warm_server() as servers:
        study = Study(Path(kept or folder).resolve())
        began = time.monotonic()
        for number in range(first, first + trials):
            line, wrong = trial(study, number, seed, servers)
            print(f"{number:4} {line} {'; '.join(wrong) or 'same'}", flush=True)
            failed += bool(wrong)
            late += "too late" in line
        seconds = (time.monotonic() - began) / max(trials, 1)
    print(f"{trials} trials, {late} killed too late, {failed} wrong; {seconds:.1f} s each")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(*map(int, sys.argv[1:3]), *sys.argv[3:4], *map(int, sys.argv[4:])) else 0)
