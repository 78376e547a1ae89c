"""Model folders: what they must hold, their manifest, and importing one from a local path."""

import json
import shutil

import pytest
import torch

from normgrowth.cli import main
from normgrowth.commands import import_facts
from normgrowth.errors import ModelError
from normgrowth.io.documents import write_json
from normgrowth.sources import loading
from normgrowth.sources.loading import load_model, pick_device
from normgrowth.sources.manifest import read_manifest, revision, write_manifest
from tests.support import checkpoints, small_models


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


def test_a_model_that_was_moved_is_named_with_the_command_that_brings_it_back(model_folder, tmp_path, capsys):
    out = tmp_path / "resources" / "model"
    assert main(["import-model", "--path", str(model_folder), "--out", str(out)]) == 0
    manifest = (out / "manifest.json").read_bytes()
    moved = model_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as caught:
        load_model(out)
    said = str(caught.value)
    assert f"model folder {out} links config.json, generation_config.json, model.safetensors and " in said
    assert f"to {model_folder}, which was moved or deleted: put it back, or import it from the FOLDER" in said
    assert f"`normgrowth import-model --path FOLDER --out {out}`" in said
    assert "\n" not in said
    assert main(["import-model", "--path", str(moved), "--out", str(out)]) == 0
    assert (out / "manifest.json").read_bytes() == manifest
    load_model(out)


def test_a_model_whose_cache_was_emptied_is_fetched_again(model_folder, tmp_path):
    out = tmp_path / "resources" / "model"
    main(["import-model", "--path", str(model_folder), "--out", str(out)])
    source = {"kind": "hub", "repo": "owner/name", "revision": "a" * 40}
    write_json(out / "manifest.json", read_manifest(out) | {"source": source})
    (model_folder / "model.safetensors").unlink()
    again = f"normgrowth fetch-model --repo owner/name --revision {'a' * 40} --out {out}"
    with pytest.raises(ModelError, match=rf"links model.safetensors to .*, which was moved or deleted: .*`{again}`"):
        load_model(out)


def test_weights_that_are_not_the_models_are_not_linked(model_folder, tmp_path):
    shutil.copy(model_folder / "model.safetensors", model_folder / "consolidated.safetensors")
    out = tmp_path / "resources" / "model"
    assert main(["import-model", "--path", str(model_folder), "--out", str(out)]) == 0
    assert [path.name for path in out.glob("*.safetensors")] == ["model.safetensors"]


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
    monkeypatch.setattr(loading.torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(ModelError, match="torch sees none: set device to cpu or auto"):
        pick_device("cuda")
    monkeypatch.setattr(loading.torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda"


def test_facts_are_checked_before_they_are_taken(tmp_path, capsys):
    records = small_models.records()
    del records[3]["requested_rewrite"]["target_true"]
    (tmp_path / "facts.json").write_text(json.dumps(records))
    out = tmp_path / "out.json"
    with pytest.raises(Exception, match=r"record 3 \(case_id 13\): requested_rewrite: field 'target_true' is missing"):
        import_facts.run(import_facts.ImportFacts(path=tmp_path / "facts.json", out=out))
    assert not out.exists()
    main(["import-facts", "--path", str(tmp_path / "facts.json"), "--limit", "3", "--out", str(out)])
    assert json.loads(out.read_text()) == records[:3]


def test_a_file_in_place_of_a_model_folder_is_named(tmp_path, capsys):
    (tmp_path / "model").write_text("")
    with pytest.raises(ModelError, match="model is a file: name the folder that transformers saved the model in"):
        load_model(tmp_path / "model")
    assert main(["import-model", "--path", str(tmp_path / "model"), "--out", str(tmp_path / "out")]) == 1
    assert "is a file: name the folder" in capsys.readouterr().err


def test_an_import_replaces_links_and_nothing_else(model_folder, tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert main(["import-model", "--path", str(model_folder), "--out", str(out)]) == 0
    for place in (model_folder, tmp_path):
        before = sorted(place.iterdir())
        assert main(["import-model", "--path", str(model_folder), "--out", str(place)]) == 1
        assert "itself and no link to it, and would be replaced: delete" in capsys.readouterr().err
        assert sorted(place.iterdir()) == before
    load_model(model_folder)
    (tmp_path / "file").write_text("mine")
    assert main(["import-model", "--path", str(model_folder), "--out", str(tmp_path / "file")]) == 1
    assert "file is a file, where a folder belongs: move it away" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{}", b"[" * 1_000_000], ids=range(5))
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_json_of_a_model_that_is_none_is_one_line(tmp_path, capsys, name, content):
    """A folder as others save it, without a manifest."""
    folder = checkpoints.saved("gpt2", tmp_path / "model")
    (folder / name).write_bytes(content)
    capsys.readouterr()  # transformers' own words about saving
    checkpoints.refused(folder, capsys, "tokenizer" if name == "tokenizer.json" else name)
