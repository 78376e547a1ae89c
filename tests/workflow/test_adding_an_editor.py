"""The walk-through of docs/adding-an-editor.md, run as it stands: real commands, a small random model."""

import json
import os
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from tests.support import small_models
from tests.workflow.conftest import ROOT, Tree

PAGE = (ROOT / "docs/adding-an-editor.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def tree(tmp_path):
    """The repository, its default study that of a small local model, with what the page says done to it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    tree = Tree.of_repository(folder)
    (folder / "bin/normgrowth").unlink()  # the real commands
    small_models.save("gpt2", tmp_path / "model")
    (tmp_path / "facts.json").write_text(json.dumps(small_models.records()))
    (tmp_path / "text.txt").write_text(small_models.text())
    tree.change_config(
        models=["small"],
        facts="few",
        text="prose",
        heldout_text="prose",
        model_sources={"small": {"kind": "local", "path": str(tmp_path / "model")}},
        fact_sources={"few": {"kind": "local", "path": str(tmp_path / "facts.json")}},
        text_sources={"prose": {"kind": "local", "paths": [str(tmp_path / "text.txt")]}},
        contexts={"per_length": 1},
        left_out={},
        more_orders={},
        block=None,
        interventions={},
        vectors={},
        editor_settings={},
    )
    code, line, _ = blocks("python")
    (study,) = blocks("yaml")
    (tree.package / "editors/nudge.py").write_text(code)
    registry = tree.package / "editors/registry.py"
    opening = "EDITORS: dict[str, str] = {\n"
    assert opening in registry.read_text()
    registry.write_text(registry.read_text().replace(opening, opening + line))
    (folder / "studies/nudge.yaml").write_text(study)
    return tree


def test_the_entry_for_the_tests_fits_the_settings(tree):
    entry = yaml.safe_load(blocks("python")[2].strip().rstrip(","))
    code = "import sys, json; from normgrowth.editors.nudge import Settings; Settings(**json.loads(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": str(tree.folder / "workflow")}
    subprocess.run([sys.executable, "-c", code, json.dumps(entry["nudge"])], env=environment, check=True)


@pytest.mark.slow
def test_the_walk_through_ends_in_curves(tree):
    (command,) = blocks("sh")
    program, *arguments = shlex.split(command)
    assert program == "snakemake"
    run = tree.snakemake("--cores", "2", *arguments)
    assert run.returncode == 0, run.stdout
    picture = tree.folder / "results/nudge/figures/norm_against_edits.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    norms = pd.read_parquet(tree.folder / "results/nudge/tables/norms.parquet")
    edited = norms[norms["role"] == "edited"].set_index(["editor", "step"])
    for editor, size in (("nudge", 0.05), ("nudge-large", 0.2)):
        steps = edited.loc[editor].sort_index()
        assert list(steps.index) == list(range(7))
        relative = steps["delta_frobenius"].iloc[1:] / steps["frobenius"].iloc[0]
        assert relative.to_numpy() == pytest.approx(size, rel=1e-4)
