"""The package as a wheel, away from the repository: commands find the default study, presets and schema in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("pyproject.toml", "README.md", "config.yaml", "workflow/normgrowth")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package alone, built from a copy: building leaves files beside the sources."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, source], check=True, capture_output=True)
    where = [sys.executable, "-c", "import normgrowth; print(normgrowth.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    found = subprocess.run(where, cwd=site, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(site))
    return site


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "export"),
        (["plan"], "demo: 50 edits"),
        (["plan", ROOT / "studies/gpt2-xl.yaml"], "gpt2-xl"),
        (["presets", "list"], "kmeng01/rome"),
        (["schema"], '"title": "Study"'),
        (["export", "--help"], "--after"),
    ],
)
def test_a_wheel_works_outside_the_repository(installed, words, said, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "normgrowth.cli", *map(str, words)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert said in run.stdout
