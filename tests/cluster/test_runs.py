"""Whole runs on a real scheduler: the same bytes as on one machine, and no GPU given to two jobs."""

import json
import sys
from itertools import pairwise

import pytest

from tests.cluster.conftest import results, run, said
from tests.cluster.slurm import Slurm, why_not
from tests.workflow.conftest import Tree
from tests.workflow.small_study import small_study

WITH_TIMES = """#!/bin/sh
began=$(date +%s.%N)
sleep 1
"{python}" -S "{stand_in}" "$@"
echo "{{\\"gpus\\": \\"$CUDA_VISIBLE_DEVICES\\", \\"began\\": $began, \\"ended\\": $(date +%s.%N)}}" \\
  > "{folder}/job-$$.json"
"""


@pytest.mark.slow
def test_no_gpu_is_given_to_two_jobs_at_once(slurm, tmp_path):
    """Stand-ins for the commands write down which GPU they were given, and when."""
    (tmp_path / "tree").mkdir()
    tree = Tree.of_repository(tmp_path / "tree")
    tree.change_config(edits=10, segment=10, editors=["ft", "r_rome", "memit"], models=["world-gpt2"], device="cuda")
    tree.change_config(
        more_orders={}, block=None, interventions={}, vectors={}, left_out={}, editor_settings={}, measure={}
    )
    command = tree.folder / "bin" / "normgrowth"
    stand_in = command.read_text().split('"')[3]
    command.write_text(WITH_TIMES.format(python=sys.executable, stand_in=stand_in, folder=tmp_path))
    run(tree, slurm, "edits")
    jobs = [json.loads(file.read_text()) for file in tmp_path.glob("job-*.json")]
    on_gpu = [job for job in jobs if job["gpus"]]
    assert len(on_gpu) >= 5 and {job["gpus"] for job in on_gpu} == {"0", "1"}
    for gpu in ("0", "1"):
        times = sorted((job["began"], job["ended"]) for job in on_gpu if job["gpus"] == gpu)
        assert all(ended <= began for (_, ended), (began, _) in pairwise(times))


@pytest.mark.slow
def test_a_study_ends_in_the_same_bytes_as_on_one_machine(slurm, tmp_path):
    """A study from nothing, its small model trained, to its claims and one figure."""
    training = {"architecture": "llama", "layers": 3, "width": 32, "heads": 2, "token_budget": 20_000}
    model = {
        "kind": "trained",
        "world": "world",
        "training": training | dict.fromkeys(("recall_bar", "paraphrase_bar"), 0),
    }
    shortened = {
        "models": ["small"],
        "model_sources": {"small": model | {"vetting": {"facts": 2, "es": 0, "ps": 0, "ns": 0}}},
        "editors": ["memit"],
        "edits": 20,
        "segment": 10,
        "more_orders": {},
        "block": None,
        "left_out": {},
        "vectors": {},
        "editor_settings": {},
    }
    trees = []
    for place in ("local", "cluster"):
        (tmp_path / place).mkdir()
        tree = Tree.of_repository(tmp_path / place)
        (tree.folder / "bin/normgrowth").unlink()
        tree.change_config(**shortened, interventions={})
        trees.append(tree)
    local, cluster = trees
    targets = ("tables", "results/demo/claims.json", "results/demo/figures/norm_against_edits.svg")
    done = local.snakemake("--cores", "2", *targets)
    assert done.returncode == 0, done.stdout
    run(cluster, slurm, *targets)
    assert "Nothing to be done" in cluster.plan(*targets).output
    assert results(cluster) == results(local)


@pytest.mark.slow
def test_jobs_are_followed_with_an_accounting_database_too(tmp_path):
    if reason := why_not(database=True):
        pytest.skip(reason)
    tree = small_study(tmp_path / "tree", editors=["ft"], edits=10)
    with Slurm(tmp_path / "slurm", database=True) as slurm:
        run(tree, slurm, "edits", "--slurm-status-command", "sacct", "--default-resources", "slurm_account=test")
        assert "COMPLETED" in slurm.run("sacct", "-X", "-n", "-o", "state").stdout
    assert "No account was given" not in said(tree)
