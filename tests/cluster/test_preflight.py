"""What the preflight finds on a real scheduler, and the words it says it in."""

from pathlib import Path

import pytest

from normgrowth.errors import ClusterError
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study
from normgrowth.workflow import cluster, preflight
from normgrowth.workflow.cluster import Partition, Site
from normgrowth.workflow.preflight import Executor, examine
from tests.cluster.slurm import Slurm, why_not

ROOT = Path(__file__).resolve().parents[2]
SQUEUE = Executor("squeue", 40, "normgrowth")


@pytest.fixture
def plan(monkeypatch):
    """The default study on a GPU."""
    monkeypatch.chdir(ROOT)
    return Plan(read_study(None, ["device=cuda"]))


@pytest.fixture
def on(monkeypatch):
    """Let commands find this cluster."""

    def enter(slurm):
        for name, value in slurm.environment.items():
            monkeypatch.setenv(name, value)

    return enter


def faults(plan, site=None, executor=SQUEUE, folder=ROOT):
    with pytest.raises(ClusterError) as raised:
        examine(plan, site or Site(), executor, folder)
    return str(raised.value)


def test_a_cluster_that_fits_has_nothing_in_the_way(slurm, on, plan):
    on(slurm)
    examine(plan, Site(), SQUEUE, ROOT)  # raises nothing
    ours = cluster.partitions()["main"]
    assert (ours.cpus, ours.gpus, ours.minutes, ours.is_default) == (slurm.cpus, slurm.gpus, 1440, True)


def test_what_would_hang_or_be_refused_is_named_with_its_remedy(slurm, on, plan):
    on(slurm)
    assert "sacct has no database to ask" in faults(plan, executor=Executor("sacct", 40, ""))
    assert "set slurm-status-command: squeue" in faults(plan, executor=Executor(None, 40, ""))
    assert "forgets a job 300 s after its end (MinJobAge), and up to 600 s pass" in faults(
        plan, executor=Executor("squeue", 200, "")
    )
    wrong = Site(gpu={"partition": "gpus", "model": "h100"}, cpu={"partition": "main"})
    assert "there is no partition 'gpus' (there are main): mend gpu.partition in profiles/slurm/site.yaml" in faults(
        plan, wrong
    )
    assert "has no GPU of model 'h100' (it has none by model)" in faults(plan, Site(gpu={"model": "h100"}))


def test_a_cluster_that_is_too_small_says_by_what(tmp_path, on, plan):
    if reason := why_not():
        pytest.skip(reason)
    with Slurm(tmp_path / "slurm", gpus=0, memory=1500, minutes=30, cpus=1) as slurm:
        on(slurm)
        said = faults(plan)
    assert "and partition main gives 30: make `segment` smaller, or set gpu.partition" in said
    assert "and no node of partition main has more than 1,500" in said
    assert "jobs ask for 1 GPUs and no node of partition main has any" in said


def test_jobs_of_an_earlier_run_are_told_of(slurm, on, plan, tmp_path):
    on(slurm)
    slurm.run("sbatch", "-J", "normgrowth_1", "-D", str(tmp_path), "--wrap", "sleep 60")
    slurm.run("sbatch", "-J", "another", "-D", str(tmp_path), "--wrap", "sleep 60")
    said = faults(plan, folder=tmp_path)
    assert "jobs of an earlier run from this folder are still in the queue" in said and "scancel" in said
    slurm.run("scancel", "--me")
    (tmp_path / "elsewhere").mkdir()
    examine(plan, Site(), SQUEUE, tmp_path / "elsewhere")


def test_an_account_is_looked_up_where_there_is_a_database(tmp_path, on, plan):
    if reason := why_not(database=True):
        pytest.skip(reason)
    with Slurm(tmp_path / "slurm", database=True) as slurm:
        on(slurm)
        examine(plan, Site(account="test"), Executor("sacct", 40, ""), ROOT)
        assert "there is no account 'mine' (there are root, test)" in faults(plan, Site(account="mine"))


def test_no_slurm_is_said_in_one_line(monkeypatch, plan, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert faults(plan) == "scontrol is not here: run this where SLURM's commands are, on a login node"


def test_a_folder_that_nodes_do_not_see_is_refused(monkeypatch):
    nodes = {"main": Partition("main", True, True, 60, 4, 1000, 1, frozenset(), frozenset({"node1", "node2"}))}
    monkeypatch.setattr(preflight, "_file_system", lambda folder: "ext4")
    (fault,) = preflight._folder(Site(), nodes, Path("/here"))
    assert fault.startswith("/here lies on a file system of this machine (ext4), which nodes do not see")
    assert list(preflight._folder(Site(shared_folder=True), nodes, Path("/here"))) == []
    monkeypatch.setattr(preflight, "_file_system", lambda folder: "nfs4")
    assert list(preflight._folder(Site(), nodes, Path("/here"))) == []


def test_a_disk_that_is_too_small_is_refused(plan, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10.0}))
    (fault,) = preflight._disk(plan, Path("/here"))
    assert "/here has 0 GB free: free some" in fault


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("infinite", float("inf")), ("30:00", 30), ("1:00:00", 60), ("2-12:00:00", 3600), ("1-0", 1440), ("45", 0.75)],
)
def test_time_limits_are_read(text, minutes):
    assert cluster._minutes(text) == minutes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gpu:2", (None, 2)),
        ("gpu:h100:4(S:0-1)", ("h100", 4)),
        ("(null)", (None, 0)),
        ("gpu", (None, 1)),
        ("x:3", (None, 0)),
    ],
)
def test_gpus_of_a_node_are_read(text, found):
    assert cluster._gpus(text) == found
