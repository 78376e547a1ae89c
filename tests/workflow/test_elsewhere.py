"""The workflow in another folder than the repository, and studies laid over the default one: what comes from where."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import Plan, Tree

PROFILE_SAID = "workflow specific profile"


def from_folder(tree: Tree, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Snakemake in `folder`, of the workflow of `tree`."""
    folder.mkdir(exist_ok=True)
    return Tree(tree.folder, cwd=folder).snakemake(*arguments)


@pytest.mark.parametrize("by", ["snakefile", pytest.param("directory", marks=pytest.mark.slow)])
def test_a_study_runs_from_another_folder(finished, tmp_path, by):
    """To its end, with the report, and without a file of the repository copied or changed."""
    folder = tmp_path / "elsewhere"
    before = {path for path in finished.folder.rglob("*") if ".snakemake" not in path.parts}
    if by == "snakefile":
        how, options = folder, ("-s", str(finished.folder / "Snakefile"))
    else:
        folder.mkdir()
        how, options = finished.folder, ("--directory", str(folder))
    run = from_folder(finished, how, *options, "--cores", "2")
    assert run.returncode == 0, run.stdout
    assert (folder / "results/demo/report.html").exists()
    assert {path.name for path in folder.iterdir()} == {"results", "resources", "logs", ".snakemake"}
    again = from_folder(finished, how, *options, "--dry-run")
    assert "Nothing to be done" in again.stdout, again.stdout
    made = from_folder(finished, how, *options, "--report", str(folder / "report.zip"))
    assert made.returncode == 0, made.stdout
    if by == "snakefile":
        assert {path for path in finished.folder.rglob("*") if ".snakemake" not in path.parts} == before


@pytest.mark.slow
def test_a_folder_with_a_default_study_of_its_own_has_that_one(finished, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    study = yaml.safe_load((finished.folder / "config.yaml").read_text()) | {"study": "own", "models": ["world-gpt2"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(study))
    run = from_folder(finished, folder, "-s", str(finished.folder / "Snakefile"), "--dry-run")
    assert Plan(run.stdout).jobs["train"] == 1, run.stdout
    (folder / "mine.yaml").write_text("study: mine\nmodels: [world-llama]\n")
    run = from_folder(
        finished, folder, "-s", str(finished.folder / "Snakefile"), "--configfile", "mine.yaml", "--dry-run"
    )
    assert "results/mine/" in run.stdout and "world-gpt2" not in run.stdout, run.stdout


@pytest.mark.parametrize("command", [("plan",), ("status",), ("presets", "list"), ("plan", "mine.yaml")])
def test_commands_about_a_study_work_in_any_folder(tmp_path, command):
    (tmp_path / "mine.yaml").write_text("study: mine\nmodels: [world-llama]\n")
    run = subprocess.run(
        [sys.executable, "-m", "normgrowth.cli", *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert not command[1:] or command[0] != "plan" or run.stdout.startswith("mine: ")


@pytest.fixture
def other(tree):
    """A tree whose default study has all that belongs to it alone, and a study laid over it that gives none of it."""
    tree.change_config(
        description="Two small models of the default study.",
        orders=2,
        more_orders={"world-gpt2": {"ft": 3}},
        left_out={"world-gpt2": ["memit"]},
        single_edits=5,
        measure={"generation_facts": 7},
        contexts={"per_length": 3},
        vectors={"editors": ["ft"]},
        interventions={"more": {"kind": "continued_pretraining", "text": "world"}},
        ability={"tasks": ["piqa"]},
    )
    (tree.folder / "studies/other.yaml").write_text(
        "study: other\nmodels: [world-gpt2]\nfacts: far-world\n"
        "fact_sources: {far-world: {kind: world, settings: {seed: 5}}}\n"
    )
    return tree


def test_what_belongs_to_the_default_study_alone_reaches_no_other_one(other):
    run = other.snakemake("--configfile", "studies/other.yaml", "--cores", "2")
    assert run.returncode == 0, run.stdout
    results = other.folder / "results/other"
    assert {path.name for path in results.glob("runs/*/*/*")} == {"order-0"}
    assert {path.name for path in results.glob("runs/*/*")} == {"ft", "r_rome", "memit"}
    assert not [name for name in ("single-edits", "interventions", "activations") if (results / name).exists()]
    assert not list(results.rglob("ability.parquet"))
    measured = (results / "measurements/world-gpt2/ft/order-0/after-50/scores.parquet").read_text()
    assert '"generation_facts":40' in measured
    assert (other.folder / "resources/statistics/world-gpt2/contexts-10-seed0.json").exists()
    said = '"description":"100 edits in sequence, of facts of far-world, by 3 editors on world-gpt2 (trained here)."'
    assert said in (results / "provenance.json").read_text()
    made = other.snakemake("--configfile", "studies/other.yaml", "--report", "report.zip")
    assert made.returncode == 0, made.stdout
    with zipfile.ZipFile(other.folder / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
    assert "of the default study" not in page and "100 edits in sequence, of facts of far-world" in page


def test_the_plan_and_the_workflow_see_the_same_study(other):
    """Jobs of runs and measurements, as both count them."""
    dry = other.snakemake("--configfile", "studies/other.yaml", "--dry-run", "--forceall")
    jobs = Plan(dry.stdout).jobs
    run = subprocess.run(
        [sys.executable, "-m", "normgrowth.cli", "plan", "studies/other.yaml"],
        cwd=other.folder,
        env=os.environ | {"PYTHONPATH": str(other.folder / "workflow")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    counted = [int(line.split()[3]) for line in run.stdout.splitlines() if line.startswith("world-gpt2")]
    assert sum(counted) == jobs["edit"] + jobs["measure"] - 1  # of the unedited model
    assert re.search(r"^other: 100 edits in segments of 50, 3 runs", run.stdout)


def test_the_default_study_changed_on_the_command_line_keeps_what_is_its_own(other):
    dry = other.snakemake("--config", "edits=150", "--dry-run")
    assert Plan(dry.stdout).jobs["single_edits"], dry.stdout
