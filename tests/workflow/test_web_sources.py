"""A study whose model, facts and text are on the web: fetched by the real commands, from a server on this machine."""

import hashlib
import json
import os
import sys

import pytest
import yaml

from tests.support import small_models
from tests.support.web import REVISION, serving
from tests.workflow.conftest import Tree

FACTS = json.dumps(small_models.records()).encode()
TEXTS = [b"One.\n\nTwo.", b"Three."]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
def web(tmp_path, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.address)
        web.serve_model("owner/tiny", small_models.save("llama", tmp_path / "published"))
        web.serve("/facts.json", FACTS)
        for number, text in enumerate(TEXTS):
            web.serve(f"/{number}.txt", text)
        yield web


@pytest.fixture
def tree(tmp_path, web):
    """The study, with the real command line."""
    (tmp_path / "repository").mkdir()
    tree = Tree.of_repository(tmp_path / "repository")
    command = tree.folder / "bin" / "normgrowth"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m normgrowth.cli "$@"\n')
    study = {
        "study": "web",
        "models": ["tiny"],
        "editors": ["ft", "r_rome"],
        "facts": "some",
        "text": "prose",
        "heldout_text": "prose",
        "edits": 4,
        "segment": 2,
        "model_sources": {
            "tiny": {"kind": "hub", "repo": "owner/tiny", "revision": REVISION, "layers": small_models.N_LAYERS}
        },
        "fact_sources": {
            "some": {"kind": "url", "url": f"{web.address}/facts.json", "sha256": sha256(FACTS), "bytes": len(FACTS)}
        },
        "text_sources": {
            "prose": {
                "kind": "url",
                "urls": [f"{web.address}/{number}.txt" for number in range(2)],
                "sha256": [sha256(text) for text in TEXTS],
            }
        },
    }
    (tree.folder / "studies" / "web.yaml").write_text(yaml.safe_dump(study))
    return tree


STUDY = ("--configfile", "studies/web.yaml")
ASSETS = ("resources/models/tiny/manifest.json", "resources/facts/some.json", "resources/text/prose.txt")
FETCHED = {"fetch_model": 1, "fetch_file": 3}


def test_inputs_are_fetched_once_and_kept(tree, web):
    plan = tree.plan(*STUDY)
    assert plan.jobs.items() >= (FETCHED | {"import_facts": 1, "import_text": 1}).items()
    assert web.requests == []  # planning takes no network

    run = tree.snakemake("--cores", "2", "downloads", *STUDY)
    assert run.returncode == 0, run.stdout
    assert not (tree.folder / ASSETS[1]).exists()
    asked = len(web.requests)
    run = tree.snakemake("--cores", "2", *ASSETS, *STUDY)
    assert run.returncode == 0, run.stdout
    assert len(web.requests) == asked
    manifest = json.loads((tree.folder / ASSETS[0]).read_text())
    assert manifest["source"] == {"kind": "hub", "repo": "owner/tiny", "revision": REVISION}
    assert os.path.isfile(tree.folder / "resources/models/tiny/model.safetensors")
    assert json.loads((tree.folder / ASSETS[1]).read_text()) == json.loads(FACTS)
    assert (tree.folder / ASSETS[2]).read_text() == "One.\n\nTwo.\n\nThree.\n"

    assert not FETCHED.keys() & tree.plan(*STUDY).jobs.keys()
    fewer = tree.plan(*STUDY, "--config", "fact_sources={some: {limit: 5}}")
    assert fewer.jobs["import_facts"] == 1
    assert not FETCHED.keys() & fewer.jobs.keys()


def test_another_file_than_the_pinned_one_stops_the_study(tree, web):
    web.serve("/facts.json", FACTS.replace(b"Lisbon", b"London"))
    run = tree.snakemake("--cores", "1", ASSETS[1], *STUDY)
    assert run.returncode == 1
    log = (tree.folder / f"logs/resources/fetch-file/{sha256(FACTS)}.log").read_text()
    assert f"but {sha256(FACTS)} is pinned ({len(FACTS)} bytes)" in log
    assert not list((tree.folder / "resources").rglob("*"))[1:]
