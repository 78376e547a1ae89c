"""A disk that fills up while a study runs: the folder is named, nothing half-written stays, the same command goes on.

Each folder that a run writes to is a small file system of its own in turn, of half of what it needs.
"""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks.kills import contents, warm_server
from tests.workflow.conftest import ROOT

pytestmark = pytest.mark.slow

TARGETS = ("results/kills/claims.json", "results/kills/provenance.json", "results/kills/figures/norm_against_edits.svg")
SMALLER = {"editors": ["ft"], "vectors": {}, "interventions": {}, "single_edits": 0, "editor_settings": {}}
SHARE = {"logs": 8}  # most of them are of resources, which are there
PAGE = 4096


def mount(folder: Path, pages: int, *options: str) -> subprocess.CompletedProcess:
    size = ",".join((*options, f"size={pages * PAGE}"))
    return subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True)


@contextmanager
def small_disk(folder: Path, pages: int):
    """A file system of so many pages at `folder`."""
    folder.mkdir(exist_ok=True)
    mounted = mount(folder, pages)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def pages_of(folder: Path) -> int:
    """What a folder's files and folders take of a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) if path.is_file() else 1 for path in folder.rglob("*"))


def run(folder: Path, temporary: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"TMPDIR": str(temporary)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", *TARGETS]
    return subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The study where there is room, and what it left."""
    folder = tmp_path_factory.mktemp("reference")
    study = yaml.safe_load((ROOT / "benchmarks/kills.yaml").read_text()) | SMALLER
    (folder / "config.yaml").write_text(yaml.safe_dump(study))
    with warm_server():
        done = run(folder, folder)
        assert done.returncode == 0, done.stdout
        yield folder


@pytest.mark.parametrize("part", ["results", "resources", "logs", ".snakemake", "temporary"])
def test_a_full_disk_is_named_and_costs_nothing(reference, tmp_path, part):
    folder, temporary = tmp_path / "study", tmp_path / "temporary"
    kept = ["config.yaml"] if part == "resources" else ["config.yaml", "resources"]
    folder.mkdir()
    temporary.mkdir()
    for name in kept:
        copy = shutil.copytree if (reference / name).is_dir() else shutil.copy2
        copy(reference / name, folder / name)
    disk = temporary if part == "temporary" else folder / part
    pages = max(1, pages_of(reference / part) // SHARE.get(part, 2)) if part != "temporary" else 1
    expected = contents(reference)
    with small_disk(disk, pages):
        full = run(folder, temporary)
        print(full.stdout)
        left = contents(folder)
        assert {name for name in left if left[name] != expected.get(name)} == set()
        if part == "temporary":  # nothing but folders stands there
            if full.returncode == 0:
                assert left == expected
                return
            assert f" {disk} (" in full.stdout
        else:
            assert full.returncode != 0
            last = [line for line in full.stdout.splitlines() if line.startswith("normgrowth: stopped")]
            assert len(last) == 1 and f" {part} (" in last[0] and "then run the same command" in last[0]
            assert "Traceback" not in full.stdout
        assert mount(disk, 100 * pages + 10_000, "remount").returncode == 0
        again = run(folder, temporary)
        assert again.returncode == 0, again.stdout
        assert contents(folder) == expected
