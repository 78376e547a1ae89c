"""Model folders: what they must hold, their manifest, and importing one from a local path."""

import json

import pytest
import torch

from normgrowth.assets import models
from normgrowth.assets.models import load_model, pick_device, read_manifest, revision, write_manifest
from normgrowth.cli import main
from normgrowth.errors import ModelError
from tests import small_models


def test_importing_links_the_files_and_keeps_the_revision(model_folder, tmp_path):
    out = tmp_path / "resources/model"
    main(["import-model", "--path", str(model_folder), "--out", str(out)])
    assert (out / "model.safetensors").is_symlink()
    assert read_manifest(out)["files"] == read_manifest(model_folder)["files"]
    assert revision(out) == revision(model_folder)
    original, linked = (dict(load_model(folder).model.named_parameters()) for folder in (model_folder, out))
    assert all(torch.equal(original[name], linked[name]) for name in original)


def test_other_weights_are_another_revision(tmp_path):
    folders = [small_models.save(architecture, tmp_path / architecture) for architecture in ("gpt2", "llama")]
    assert revision(folders[0]) != revision(folders[1])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", r"lacks weights \(\*.safetensors\)"),
        ("tokenizer.json", "lacks a tokenizer"),
        ("config.json", "lacks config.json"),
    ],
)
def test_missing_files_are_named(tmp_path, file, message):
    folder = small_models.save("gpt2", tmp_path / "model")
    (folder / file).unlink()
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_damaged_weights_are_one_line(tmp_path):
    folder = small_models.save("gpt2", tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"model folder .* cannot be loaded: ") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there():
    with pytest.raises(ModelError, match="model folder nowhere does not exist"):
        load_model("nowhere")


def test_pickled_weights_are_not_loaded(tmp_path):
    folder = small_models.save("gpt2", tmp_path / "model")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks weights"):
        write_manifest(folder, {})


def test_devices(monkeypatch):
    monkeypatch.setattr(models.torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(ModelError, match="torch sees none: set device to cpu or auto"):
        pick_device("cuda")
    monkeypatch.setattr(models.torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


def test_facts_are_checked_before_they_are_taken(tmp_path, capsys):
    records = small_models.records()
    del records[3]["requested_rewrite"]["target_true"]
    (tmp_path / "facts.json").write_text(json.dumps(records))
    out = tmp_path / "out.json"
    with pytest.raises(Exception, match=r"record 3 \(case_id 13\): requested_rewrite: field 'target_true' is missing"):
        from argparse import Namespace

        from normgrowth.commands import import_facts

        import_facts.run(Namespace(path=tmp_path / "facts.json", format="counterfact", limit=None, out=out))
    assert not out.exists()
    main(["import-facts", "--path", str(tmp_path / "facts.json"), "--limit", "3", "--out", str(out)])
    assert json.loads(out.read_text()) == records[:3]
