"""An edit chain killed at random moments ends in the bytes of one that was left alone, by the real commands."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.workflow.conftest import ROOT
from tests.workflow.small_study import small_study

TRIALS = 10  # benchmarks/kills.py makes more of them, in every rule


def commands_of(tree, chain):
    """The edits of a chain, as arguments of normgrowth."""
    plan = tree.snakemake("--dry-run", "--printshellcmds", "--forceall", "edits").stdout
    lines = re.findall(r"normgrowth (edit .*?) > \S+ 2>&1", plan)
    found = [shlex.split(line) for line in lines]
    ours = [words for words in found if words[words.index("--chain") + 1] == chain]
    return sorted(ours, key=lambda words: int(words[words.index("--segment") + 1]))


@pytest.mark.slow
def test_chains_killed_at_random_moments_end_in_the_same_bytes(tmp_path):
    tree = small_study(
        tmp_path / "tree", editors=["memit"], edits=10, segment=5, editor_settings={"memit": {"batch": 5}}
    )
    run = tree.snakemake("--cores", "2", "edits")
    assert run.returncode == 0, run.stdout
    chain = "results/demo/runs/small/memit/order-0"
    commands = commands_of(tree, chain)
    assert len(commands) == 2
    (tmp_path / "commands.json").write_text(json.dumps({"commands": commands, "chain": chain}))
    trials = subprocess.run(
        [sys.executable, "-m", "tests.support.interruption", str(tmp_path / "commands.json"), str(TRIALS), "0"],
        cwd=tree.folder,
        env=os.environ | {"PYTHONPATH": f"{tree.folder / 'workflow'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert trials.returncode == 0, trials.stderr
    found = json.loads(trials.stdout)
    assert found["kills"] >= TRIALS and found["whole_chains"] > 0
    assert found["differing"] == [] and found["unreadable"] == []
