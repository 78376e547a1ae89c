"""Fingerprints change with code that matters and with nothing else."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from normgrowth import fingerprint
from normgrowth.fingerprint import beyond, closure, numerics, read_code, versions

CODE = b'''
"""A module."""
import os
LIMIT = 3  # a remark
"""What the limit is."""


def double(x):
    """Twice x."""
    return 2 * x
'''


def fingerprint_of(source: bytes) -> str:
    return read_code(source, "normgrowth.example").hash


def modules(fingerprints: list[str]) -> set[str]:
    return {entry.split("@")[0] for entry in fingerprints}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# a remark", b"# another"),
        (b"A module.", b"Said otherwise."),
        (b"Twice x.", b"Two times x."),
        (b"What the limit is.", b"The limit."),
        (b"2 * x", b"(2   *  x)"),
        (b"\n\n\n", b"\n"),
        (b"import os", b"import os\n__version__ = '7'"),
    ],
)
def test_what_changes_no_result_changes_no_fingerprint(old, new):
    assert old in CODE
    assert fingerprint_of(CODE.replace(old, new)) == fingerprint_of(CODE)


@pytest.mark.parametrize(("old", "new"), [(b"2 * x", b"3 * x"), (b"LIMIT = 3", b"LIMIT = 4"), (b"os", b"sys")])
def test_code_changes_its_fingerprint(old, new):
    assert fingerprint_of(CODE.replace(old, new)) != fingerprint_of(CODE)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import normgrowth.a.b", {"normgrowth", "normgrowth.a", "normgrowth.a.b"}),
        ("from normgrowth.a import b", {"normgrowth.a", "normgrowth.a.b"}),
        ("from . import b", {"normgrowth.here", "normgrowth.here.b"}),
        ("from .b import c", {"normgrowth.here.b", "normgrowth.here.b.c"}),
        ("from ..b import c", {"normgrowth.b", "normgrowth.b.c"}),
        ("def f():\n    if True:\n        from normgrowth.a import b", {"normgrowth.a.b"}),
        ("TABLE = {'x': 'normgrowth.a.b'}", {"normgrowth.a.b"}),
        ("import torch.nn", set()),
    ],
)
def test_imports_are_seen_wherever_they_stand(source, named):
    found = set(read_code(source.encode(), "normgrowth.here.module").modules)
    assert named <= found
    assert not any(name.startswith("torch") for name in found)


def test_a_closure_holds_what_a_command_uses_and_no_more():
    edit = modules(closure("normgrowth.commands.edit"))
    assert {"normgrowth", "normgrowth.runs.segment", "normgrowth.runs.state", "normgrowth.lm.tokens"} <= edit
    assert not {name for name in edit if name.split(".")[1:2] in (["figures"], ["claims"], ["study"])}
    assert "normgrowth.cli" not in edit


def test_the_names_of_the_library_are_in_no_fingerprint():
    empty = f"normgrowth@{fingerprint._with_data(read_code(b'', 'normgrowth'), fingerprint.ROOT / '__init__.py')}"
    for command in sorted(path.stem for path in (fingerprint.ROOT / "commands").glob("[a-z]*.py")):
        found = closure(f"normgrowth.commands.{command}")
        assert empty in found
        assert not {name for name in modules(found) if name.split(".")[1:2] == ["api"]}


def test_registries_are_not_followed_unless_asked_for():
    edit = closure("normgrowth.commands.edit")
    assert not {"normgrowth.editors.registry", "normgrowth.editors.ft", "normgrowth.editors.memit"} & modules(edit)
    memit = modules(beyond(edit, "normgrowth.editors.memit"))
    assert {"normgrowth.editors.memit", "normgrowth.editors.locate.closed_forms"} <= memit
    assert "normgrowth.editors.ft" not in memit
    report = closure("normgrowth.commands.report", "normgrowth.figures.catalogue")
    assert "normgrowth.figures.catalogue" in modules(report)


def test_data_files_count_for_the_module_that_names_them(tmp_path):
    (tmp_path / "page.css").write_text("a {}")
    module = tmp_path / "module.py"
    module.write_text("STYLE = 'page.css'")
    code = read_code(module.read_bytes(), "normgrowth.module")
    before = fingerprint._with_data(code, module)
    (tmp_path / "page.css").write_text("b {}")
    assert fingerprint._with_data(code, module) != before


def test_an_unknown_entry_is_an_error():
    with pytest.raises(ModuleNotFoundError, match="nothing is no module"):
        closure("normgrowth.commands.nothing")


def test_versions_of_what_is_installed():
    assert any(entry.startswith("torch==") for entry in numerics())
    assert versions("no-such-library") == []


def test_a_kept_fingerprint_is_fast_right_and_needs_no_torch(tmp_path):
    package = tmp_path / "normgrowth"
    shutil.copytree(fingerprint.ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    first = _in_a_process_of_its_own(tmp_path)
    again = _in_a_process_of_its_own(tmp_path)
    assert again["closure"] == first["closure"]
    assert again["seconds"] < 0.1
    assert not again["torch"]
    time.sleep(0.01)
    with open(package / "seeds.py", "a") as file:
        file.write("CHANGED = 1\n")
    changed = _in_a_process_of_its_own(tmp_path)
    assert modules(set(changed["closure"]) ^ set(first["closure"])) == {"normgrowth.seeds"}


@pytest.mark.parametrize("source", ["def half(", "A = '\0'", "A = '\udcff'"], ids=["half", "null", "no text"])
def test_a_module_that_nothing_uses_may_be_half_written(tmp_path, monkeypatch, source):
    package = tmp_path / "normgrowth"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "used.py").write_text("A = 1")
    (package / "half.py").write_bytes(source.encode(errors="surrogateescape"))
    (package / ".#used.py").symlink_to("somebody@somewhere.1234")
    monkeypatch.setattr(fingerprint, "ROOT", package)
    monkeypatch.setattr(fingerprint, "_CACHE_FILE", tmp_path / "fingerprints.json")
    cached = (fingerprint._hash_of, fingerprint._file_of, fingerprint._kept, fingerprint._code_of)
    try:
        for function in cached:
            function.cache_clear()
        fingerprint.read_all()
        assert modules(closure("normgrowth.used")) == {"normgrowth", "normgrowth.used"}
        with pytest.raises((SyntaxError, ValueError)):
            closure("normgrowth.half")
    finally:
        for function in cached:
            function.cache_clear()


def _in_a_process_of_its_own(path: Path) -> dict:
    script = """
import json, sys, time
from normgrowth.fingerprint import closure
began = time.perf_counter()
found = closure("normgrowth.commands.edit")
print(json.dumps({"closure": found, "seconds": time.perf_counter() - began, "torch": "torch" in sys.modules}))
"""
    run = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(path)}, capture_output=True, check=True)
    return json.loads(run.stdout)
