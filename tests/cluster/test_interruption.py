"""Whatever befalls a run on a real scheduler, it ends in the bytes of a run on one machine that nobody disturbed."""

import os
import signal
import subprocess
import sys

import pytest

from tests.cluster.conftest import finish, results, run, said, start, wait_until
from tests.cluster.slurm import Slurm
from tests.workflow.small_study import SEGMENT, small_study

pytestmark = pytest.mark.slow

TARGET = "edits"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """One segment of the small study, edited on this machine; `test_runs` has segments that follow each other."""
    tree = small_study(tmp_path_factory.mktemp("undisturbed") / "tree", editors=["memit"], edits=SEGMENT)
    done = tree.snakemake("--cores", "2", TARGET)
    assert done.returncode == 0, done.stdout
    return tree


@pytest.fixture
def expected(undisturbed):
    return results(undisturbed)


@pytest.fixture
def tree(undisturbed, tmp_path):
    """The same study with nothing edited yet."""
    tree = undisturbed.copy(tmp_path / "tree")
    subprocess.run(["rm", "-rf", tree.folder / "results"], check=True)
    return tree


STOPPING = """\
#!{python}
import os, signal, sys
from pathlib import Path
from normgrowth import cli

folder = Path({folder!r})
if sys.argv[1] == "edit" and not (folder / "attempted").exists():
    (folder / "attempted").touch()
    from normgrowth.editors.locate.method import LocateThenEdit

    edit = LocateThenEdit.edit

    def edit_and_stop(*arguments):
        edit(*arguments)
        (folder / "stopped").touch()
        while True:  # the scheduler continues a job before it ends it
            os.kill(os.getpid(), signal.SIGSTOP)

    LocateThenEdit.edit = edit_and_stop
sys.exit(cli.main())
"""


def stop_in_its_tracks(tree):
    """Let the first edit stop for good once it has changed the model, with nothing written."""
    command = tree.folder / "bin" / "normgrowth"
    command.write_text(STOPPING.format(python=sys.executable, folder=str(tree.folder)))
    command.chmod(0o755)


def stopped_midway(tree, slurm):
    """The head of a run whose first edit has stopped."""
    stop_in_its_tracks(tree)
    head = start(tree, slurm, TARGET)
    wait_until((tree.folder / "stopped").exists, "the edit", head, tree)
    return head


def numbers(slurm):
    return [line.split()[0] for line in slurm.queue() if " RUNNING " in line]


def test_a_job_over_its_time_is_run_again_with_more(tree, slurm, expected):
    stop_in_its_tracks(tree)
    run(tree, slurm, TARGET, "--set-resources", "edit:runtime=attempt")  # 1 minute, then 2
    assert "TIMEOUT" in said(tree) and "Trying to restart" in said(tree)
    assert results(tree) == expected


def test_a_job_over_its_memory_is_run_again_with_more(tree, slurm, expected):
    run(tree, slurm, TARGET, "--set-resources", "edit:mem_mb=300 * attempt ** 3")
    assert "Trying to restart" in said(tree)
    assert results(tree) == expected


def test_a_cancelled_job_is_run_again(tree, slurm, expected):
    head = stopped_midway(tree, slurm)
    slurm.run("scancel", *numbers(slurm))
    finish(head, tree)
    assert results(tree) == expected


def test_a_requeued_job_begins_its_segment_again(tree, slurm, expected):
    head = stopped_midway(tree, slurm)
    (number,) = numbers(slurm)
    assert slurm.run("scontrol", "requeue", number).returncode == 0
    wait_until(lambda: "PENDING" in slurm.run("squeue", "-h", "-o", "%T").stdout, "the requeued job")
    slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now")  # SLURM itself waits two minutes
    finish(head, tree)
    assert results(tree) == expected


def test_a_killed_head_leaves_nothing_that_a_second_start_cannot_use(tree, slurm, expected):
    head = stopped_midway(tree, slurm)
    head.kill()
    head.wait()
    (orphan,) = numbers(slurm)
    refused = tree.snakemake("--cores", "1", TARGET)
    assert "--unlock" in refused.stdout
    assert tree.snakemake("--unlock").returncode == 0
    beside = start(tree, slurm, TARGET)
    assert beside.wait(180) != 0
    assert f"jobs of an earlier run from this folder are still in the queue: {orphan}." in said(tree)
    assert slurm.queue("%i") == [orphan]  # nothing was submitted beside it
    slurm.run("scancel", orphan)
    wait_until(lambda: not slurm.queue(), "the orphan's end")
    run(tree, slurm, TARGET)
    assert results(tree) == expected


def test_an_interrupted_head_empties_the_queue(tree, slurm, expected):
    head = stopped_midway(tree, slurm)
    os.kill(head.pid, signal.SIGINT)
    assert head.wait(180) != 0
    wait_until(lambda: not slurm.queue(), "the end of all jobs")
    run(tree, slurm, TARGET)
    assert results(tree) == expected


def test_a_lost_node_costs_its_segment_only(tree, tmp_path, expected):
    with Slurm(tmp_path / "slurm", SlurmdTimeout=5) as slurm:
        head = stopped_midway(tree, slurm)
        (number,) = numbers(slurm)
        slurm.lose_node()
        wait_until(lambda: "PENDING" in slurm.run("squeue", "-h", "-o", "%T").stdout, "the job back in the queue")
        slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now")
        slurm.start_node()
        slurm.run("scontrol", "update", f"NodeName={slurm.node}", "State=resume")
        finish(head, tree)
    assert results(tree) == expected
