"""Planning a study and asking for help import none of the libraries that take seconds to import."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "matplotlib", "pandas", "pyarrow", "huggingface_hub")
STATEMENT = re.compile(r"^(?:from normgrowth[\w.]* import (?:\([^)]*\)|[^\n(]+)|import normgrowth.*)$", re.MULTILINE)

PLANNING = """
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study

plan = Plan(read_study(None))
for model, editor, order in plan.chains:
    plan.editor(model, editor)
plan.as_json, plan.notice, plan.runs, list(plan.kept_vectors)
"""

HELP = """
import contextlib
from normgrowth.cli import main

with contextlib.suppress(SystemExit):
    main(["--help"])
"""


def heavy_after(code: str) -> list[str]:
    """The heavy libraries that a process of its own has imported after running code."""
    report = f"import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return json.loads(said.splitlines()[-1])


def test_planning_a_study_imports_nothing_heavy():
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    statements = [found for file in files for found in STATEMENT.findall(file.read_text(encoding="utf-8"))]
    assert any("normgrowth.study.plan" in statement for statement in statements)
    assert heavy_after("\n".join(statements) + PLANNING) == []


def test_help_imports_nothing_heavy():
    assert heavy_after(HELP) == []


def test_the_library_imports_nothing_heavy_until_a_name_is_used():
    assert heavy_after("import normgrowth as ng; ng.__version__, dir(ng)") == []
    assert "torch" not in heavy_after("import normgrowth as ng; ng.read_results")
    assert "torch" in heavy_after("import normgrowth as ng; ng.edit")


def test_what_is_heavy_would_be_found():
    assert "pandas" in heavy_after("import pandas")
