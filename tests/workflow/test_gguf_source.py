"""A study whose model is a GGUF file: planned from its header, and compared by its hash wherever it is."""

import json
import shutil

import pytest
import yaml

from tests.support.gguf_files import Small
from tests.workflow.conftest import Tree

STUDY = ("--configfile", "studies/gguf.yaml")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    (folder / "repository").mkdir()
    tree = Tree.of_repository(folder / "repository")
    sha256 = Small().write(folder / "tiny.gguf")
    (folder / "facts.json").write_text(json.dumps([{"requested_rewrite": {"subject": f"s{i}"}} for i in range(8)]))
    (folder / "text.txt").write_text("Text.")
    study = {
        "study": "gguf",
        "models": ["tiny"],
        "editors": ["ft", "r_rome"],
        "facts": "mine",
        "text": "prose",
        "heldout_text": "prose",
        "edits": 4,
        "segment": 2,
        "measure": {"text_window": 32, "generation_tokens": 16},
        "model_sources": {"tiny": {"kind": "gguf", "path": "{assets}/tiny.gguf", "sha256": sha256}},
        "fact_sources": {"mine": {"kind": "local", "path": "{assets}/facts.json"}},
        "text_sources": {"prose": {"kind": "local", "paths": ["{assets}/text.txt"]}},
    }
    (tree.folder / "studies" / "gguf.yaml").write_text(yaml.safe_dump(study))
    run = tree.snakemake("--cores", "2", *STUDY, "--config", "assets=..")
    assert run.returncode == 0, run.stdout
    return tree


def test_the_file_is_imported_once_for_all_runs(tree):
    said = (tree.folder / "resources/models/tiny/manifest.json").read_text()
    assert said.startswith("import-gguf --layers 2 --to-read ") and " --path ../tiny.gguf --sha256 " in said
    assert (tree.folder / "results/gguf/runs/tiny/r_rome/order-0/segment-2/state.safetensors").is_file()
    assert tree.plan(*STUDY, "--config", "assets=..").jobs == {}


def test_another_place_changes_nothing_and_another_hash_imports_it_again(tree, tmp_path):
    shutil.copytree(tree.folder.parent, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("repository"))
    assert tree.plan(*STUDY, "--config", f"assets={tmp_path / 'elsewhere'}").jobs == {}
    other = f"model_sources={{tiny: {{sha256: {'b' * 64}}}}}"
    plan = tree.plan(*STUDY, "--config", "assets=..", other)
    assert plan.jobs["import_gguf"] == 1 and "import_facts" not in plan.jobs
    assert f"now: sha256: {'b' * 64}" in plan.output.replace("'", "")
