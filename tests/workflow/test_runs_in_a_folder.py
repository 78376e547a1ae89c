"""Runs that share a folder: killed ones, those that get in each other's way, those that go on side by side."""

import json
import os
import re
import signal

import pytest
import yaml

from normgrowth.workflow import code_edits, processes
from tests.workflow.heads import Head, records, until, waiting_tree, watchers

pytestmark = pytest.mark.skipif(not processes.this_boot(), reason="processes of a run cannot be found here")

STUDY = "study 'demo' (process {process} on {host}, since {since})"


@pytest.fixture
def tree(tmp_path):
    yield waiting_tree(tmp_path / "tree")
    Head.end_all()


def change_record(tree, **values):
    (file,) = (tree.folder / ".snakemake/locks").glob("*.run.json")
    file.write_text(json.dumps(json.loads(file.read_bytes()) | values))


def locks(tree) -> list[str]:
    return [file.name for file in (tree.folder / ".snakemake/locks").iterdir()]


def second_study(tree, **values):
    """Arguments for another study of the same resources."""
    values = {"study": "second"} | values
    return ["--config", *(f"{key}={value}" for key, value in values.items())]


def test_the_lock_of_a_killed_run_is_taken_over(tree):
    head = Head(tree, hold="train").held()
    (record,) = records(tree)
    assert head.left()
    head.kill()
    until(lambda: not processes.of_run(record["name"], ""), 5)  # without another start
    again = Head(tree).end()
    assert again.lines() == [f"normgrowth: taking over the lock of {STUDY.format(**record)}, which has ended"]
    assert locks(tree) == [] and (tree.folder / "results/demo/report.html").exists()


@pytest.mark.slow
def test_a_run_is_refused_while_another_writes_what_it_would_write(tree):
    first = Head(tree, hold="train").held()
    (record,) = records(tree)
    second = Head(tree).end(1)
    (line,) = second.lines()
    assert line.startswith(f"normgrowth: not started: {STUDY.format(**record)} writes re")
    assert line.endswith("Wait for its end, then run the same command")
    assert "Traceback" not in second.said and records(tree) == [record]
    (tree.folder / "go").touch()
    first.end()
    assert "Nothing to be done" in Head(tree).end().said


@pytest.mark.slow
def test_what_a_killed_run_left_is_ended_before_its_lock_is_taken(tree):
    head = Head(tree, hold="train").held()
    (record,) = records(tree)
    shell = min(head.left())
    for process in watchers(record["name"]):
        os.kill(process, signal.SIGKILL)
    head.kill()
    assert shell in processes.of_run(record["name"], "")
    again = Head(tree, hold="train").held()
    assert processes.of_run(record["name"], "") == []
    (line,) = again.lines()
    assert re.search(r"which has ended; \d+ processes that it left were ended$", line)
    again.kill()


@pytest.mark.slow
def test_of_two_starts_at_once_one_takes_the_lock(tree):
    Head(tree, hold="train").held().kill()
    heads = [Head(tree, hold="train") for _ in range(3)]
    until(lambda: sum(head.process.poll() is not None for head in heads) == 2)
    (going,) = (head for head in heads if head.process.poll() is None)
    for head in heads:
        if head is not going:
            head.end(1)
            assert f"process {going.process.pid} " in head.lines()[-1]
    assert sum("taking over" in line for head in heads for line in head.lines()) == 1
    (tree.folder / "go").touch()
    going.end()


@pytest.mark.slow
def test_a_lock_that_cannot_be_judged_is_not_taken(tree):
    Head(tree, hold="train").held().kill()
    change_record(tree, host="another", boot="another")
    (line,) = Head(tree).end(1).lines()
    assert "on another, since 2" in line and line.endswith(
        "Wait for its end; if it was killed there, `snakemake --unlock`, then run the same command"
    )
    change_record(tree, host=os.uname().nodename, executor="slurm")  # the machine was started again since
    (line,) = Head(tree).end(1).lines()
    assert "but its jobs may go on in the queue (slurm)" in line and "then `snakemake --unlock`" in line
    change_record(tree, executor="local", user=2**30)  # whom this machine has no name for
    (line,) = Head(tree).end(1).lines()
    assert f"of user {2**30}, has ended" in line and "`snakemake --unlock`" in line
    (record,) = (tree.folder / ".snakemake/locks").glob("*.run.json")
    record.unlink()
    (line,) = Head(tree).end(1).lines()
    assert "an unknown run " in line and "`snakemake --unlock`, then run the same command" in line
    assert tree.snakemake("--unlock").returncode == 0
    assert Head(tree).end().lines() == []


@pytest.mark.slow
def test_studies_that_share_finished_resources_run_side_by_side(tree):
    assert tree.snakemake("--cores", "2").returncode == 0
    second, third = second_study(tree), second_study(tree, study="third")
    held = Head(tree, *second, hold="edit").held()
    Head(tree, *third).end()
    assert [record["study"] for record in records(tree)] == ["second"]  # the end of one takes no other's lock away
    assert len(locks(tree)) == 3
    refused = Head(tree, "--forcerun", "train").end(1)
    assert "reads resources/" in refused.lines()[0]
    (tree.folder / "go").touch()
    held.end()
    for study in ("second", "third"):
        assert (tree.folder / f"results/{study}/report.html").exists()


@pytest.mark.slow
def test_a_study_that_needs_what_another_makes_is_refused_until_it_has(tree):
    first = Head(tree, hold="train").held()
    refused = Head(tree, *second_study(tree)).end(1)
    assert "writes resources/" in refused.lines()[0] and "Traceback" not in refused.said
    (tree.folder / "go").touch()
    first.end()
    Head(tree, *second_study(tree)).end()


@pytest.mark.slow
def test_dry_runs_and_reports_need_no_lock(tree):
    held = Head(tree, hold="train").held()
    dry = tree.snakemake("--dry-run")
    assert (
        dry.returncode == 0 and "another run is making some of these files" in dry.stdout and "Error" not in dry.stdout
    )
    assert tree.snakemake("--list").returncode == 0
    assert len(records(tree)) == 1
    held.process.send_signal(signal.SIGINT)
    (tree.folder / "go").touch()
    held.process.wait(60)
    assert locks(tree) == []


def edit_everything(tree):
    """More edits, another probe set, and another line in one editor."""
    tree.change_config(edits=3, measure={"fact_probes": 30})
    tree.append("editors/ft.py", "ANOTHER_LINE = 1")


@pytest.mark.slow
def test_a_run_keeps_to_its_plan_and_the_next_one_makes_what_the_edits_touch(tree, tmp_path):
    control = waiting_tree(tmp_path / "control")
    assert control.snakemake("--cores", "2").returncode == 0
    edit_everything(control)
    running = Head(tree, hold="train").held()
    edit_everything(tree)
    (tree.folder / "go").touch()
    running.end()
    (line,) = running.lines()
    assert line.startswith("normgrowth: edited while this run went on: ft.py. The next run repeats what depends on it;")
    segments = {file.name for file in (tree.folder / "results/demo/runs/world-gpt2/ft/order-0").iterdir()}
    assert segments == {"segment-1", "segment-2"}
    plan = tree.plan()
    assert plan.jobs == control.plan().jobs and plan.jobs["edit"] == 3 and "train" not in plan.jobs
    assert tree.snakemake("--cores", "2").returncode == 0
    assert "Nothing to be done" in tree.snakemake("--dry-run").stdout


def test_a_job_on_another_machine_keeps_to_the_study_of_its_run(tree, monkeypatch):
    target = "results/demo/runs/world-gpt2/ft/order-0/segment-1/state.safetensors"
    job = ("--mode", "remote", "--nolock", "--dry-run", "--printshellcmds", target)
    monkeypatch.delenv(code_edits.STUDY, raising=False)
    place = code_edits.keep(yaml.safe_load((tree.folder / "config.yaml").read_text()), tree.folder / ".snakemake")
    monkeypatch.setenv(code_edits.STUDY, place)
    tree.change_config(edits=1)
    assert "--last 1 --of 2 " in tree.snakemake(*job).stdout
    monkeypatch.delenv(code_edits.STUDY)
    assert "--last 1 --of 1 " in tree.snakemake(*job).stdout
