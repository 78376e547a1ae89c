"""A study whose model, facts and text are local files, and in which a path may hold blanks."""

import json
import shutil

import pytest
import yaml

from tests.workflow.conftest import Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    model = folder / "my assets" / "model"
    model.mkdir(parents=True)
    for name, text in {"config.json": '{"n_layer": 4}', "tokenizer.json": "{}", "model.safetensors": "-"}.items():
        (model / name).write_text(text)
    records = [{"requested_rewrite": {"subject": f"subject {i}"}} for i in range(8)]
    (folder / "my assets" / "facts.json").write_text(json.dumps(records))
    (folder / "my assets" / "text.txt").write_text("Text.")
    study = {
        "study": "local",
        "description": 'It isn\'t {easy} to "quote" $this.',
        "models": ["small"],
        "editors": ["ft", "r_rome"],
        "facts": "mine",
        "text": "prose",
        "heldout_text": "prose",
        "edits": 4,
        "segment": 2,
        "model_sources": {"small": {"kind": "local", "path": "{assets}/model"}},
        "fact_sources": {"mine": {"kind": "local", "path": "{assets}/facts.json"}},
        "text_sources": {"prose": {"kind": "local", "paths": ["{assets}/text.txt"]}},
    }
    (folder / "repository").mkdir()
    tree = Tree.of_repository(folder / "repository")
    (tree.folder / "studies" / "local.yaml").write_text(yaml.safe_dump(study))
    run = tree.snakemake("--cores", "2", *options("assets=../my assets"))
    assert run.returncode == 0, run.stdout
    return tree


def options(*config: str) -> list[str]:
    return ["--configfile", "studies/local.yaml", "--config", *config]


def test_everything_is_imported_and_edited(tree):
    assert "../my assets/text.txt" in (tree.folder / "resources/text/prose.txt").read_text()
    assert (tree.folder / "results/local/runs/small/r_rome/order-0/segment-2/state.safetensors").is_file()
    assert "It isn't {easy} to" in (tree.folder / "results/local/provenance.json").read_text()


def test_another_spelling_of_the_folder_changes_nothing(tree):
    assert tree.plan(*options(f"assets={tree.folder.parent}/my assets/")).jobs == {}


def test_links_to_the_same_folder_change_nothing(tree):
    link = tree.folder.parent / "link"
    link.symlink_to(tree.folder.parent / "my assets")
    assert tree.plan(*options(f"assets={link}")).jobs == {}
    files = tree.folder.parent / "links to files"
    (files / "model").mkdir(parents=True)
    for path in (tree.folder.parent / "my assets").rglob("*"):
        if path.is_file():
            (files / path.relative_to(tree.folder.parent / "my assets")).symlink_to(path)
    assert tree.plan(*options(f"assets={files}")).jobs == {}


def test_a_copy_of_the_folder_changes_nothing(tree):
    copy = tree.folder.parent / "copy"
    shutil.copytree(tree.folder.parent / "my assets", copy)  # at another time
    assert tree.plan(*options(f"assets={copy}")).jobs == {}


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("model/model.safetensors", "import_model"),
        ("model/tokenizer.json", "import_model"),
        ("facts.json", "import_facts"),
        ("text.txt", "import_text"),
    ],
)
def test_what_a_file_holds_is_imported_again_where_it_changed(tree, tmp_path, file, rule):
    shutil.copytree(tree.folder.parent / "my assets", tmp_path / "other")
    path = tmp_path / "other" / file
    path.write_text(path.read_text() + " ")
    assert tree.plan(*options(f"assets={tmp_path / 'other'}")).jobs[rule] == 1


def test_another_limit_of_facts_imports_them_again(tree):
    plan = tree.plan(*options("assets=../my assets", "fact_sources={mine: {limit: 6}}"))
    assert plan.jobs["import_facts"] == 1
    assert "import_model" not in plan.jobs
