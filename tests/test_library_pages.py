"""The library's page and notebook, run as they stand: code in their order, in a process of its own each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from normgrowth.api.toy import TRAINING, small_world

ROOT = Path(__file__).parents[1]
UNTRAINED = TRAINING.model_copy(
    update={"width": 32, "token_budget": 2048, "evaluate_every": 1024, "recall_bar": 0.0, "paraphrase_bar": 0.0}
)
"""Training of two steps: the code runs as on a model that knows something, and its results mean nothing."""


def page() -> list[str]:
    text = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def notebook() -> list[dict]:
    return json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]


def notebook_code() -> list[str]:
    return ["".join(cell["source"]) for cell in notebook() if cell["cell_type"] == "code"]


def run(pieces: list[str], folder: Path, check: str = "") -> str:
    """The output of pieces of code, run one after another in a fresh interpreter that draws without a screen."""
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "\n".join([*pieces, check])]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("pieces", [page, notebook_code])
def test_the_code_runs_in_a_fresh_interpreter(pieces, tmp_path):
    small_world(tmp_path / "small-world", UNTRAINED)
    run(pieces(), tmp_path)


@pytest.mark.slow
def test_on_the_trained_model_the_edits_take_and_leave_nothing_when_undone(tmp_path):
    small_world(tmp_path / "small-world")
    run(page(), tmp_path, "assert before.split()[0].startswith('Lisbon'), before")
    check = """
assert [text.split()[0].strip(".,") for text in before] == ["Lisbon", "Dublin", "Poland"], before
assert [text.split()[0].strip(".,") for text in after] == ["Vienna", "Prague", "Japan"], after
assert norms["frobenius_ratio"].iloc[-1] > 2 and more.scores["es"].mean() > 0.8
"""
    run(notebook_code(), tmp_path, check)


def test_the_notebook_is_committed_without_outputs():
    cells = notebook()
    assert 8 <= len(notebook_code()) <= 12 or len(cells) <= 14
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
