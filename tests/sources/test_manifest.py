"""Manifests of models: every file that loading reads is the one that was there when the manifest was written."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from normgrowth.cli import main
from normgrowth.errors import ArtefactError, ModelError
from normgrowth.io import digests, known_hashes
from normgrowth.io.documents import intact, write_json, write_text
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tensors import read_tensors, write_tensors
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import MANIFEST, read_manifest, revision, verify, write_manifest
from tests.support import small_models
from tests.support.commands import Workbench

FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
LOADING = (
    "contexts", "statistics", "hypernetwork", "check-editable", "edit", "single-edits", "measure", "extract",
    "intervene",
)  # fmt: skip


def flip(file: Path, place: float = 0.6) -> None:
    """Turn one bit of a file over, through links."""
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 4
    file.write_bytes(data)


@pytest.fixture
def folder(tmp_path):
    return small_models.save("gpt2", tmp_path / "model")


@pytest.fixture
def linked(folder, tmp_path):
    """The model, imported as the workflow does."""
    out = tmp_path / "resources" / "model"
    assert main(["import-model", "--path", str(folder), "--out", str(out)]) == 0
    return out


def refusal(folder: Path) -> str:
    """What loading says of a folder, in one line."""
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_the_manifest_names_every_file_of_the_model(folder):
    assert tuple(sorted(read_manifest(folder)["files"])) == FILES
    assert [file.name for file in verify(folder)] == list(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_file_is_found(folder, name):
    before = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    flip(folder / name)
    after = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert refusal(folder) == (
        f"model folder {folder} cannot be loaded: {name} is not the file that manifest.json names; its SHA-256 is "
        f"{after[:12]}..., not {before[:12]}...: delete {folder} and run the workflow again, which makes the model anew"
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, MANIFEST, f"{MANIFEST}.sha256"])


def test_the_files_of_another_model_are_not_taken_for_the_models_own(folder, tmp_path):
    small_models.model_of("gpt2", seed=1).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    assert "model.safetensors is not the file that manifest.json names" in refusal(folder)


def test_the_manifest_of_another_model_is_not_taken_for_the_models_own(folder, tmp_path):
    other = small_models.save("llama", tmp_path / "other")
    for name in (MANIFEST, f"{MANIFEST}.sha256"):
        shutil.copy(other / name, folder / name)
    assert "config.json is not the file that manifest.json names" in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_changed_behind_a_link_is_named_where_it_is(folder, linked, name):
    flip(folder / name)
    assert refusal(linked).endswith(
        f"put the former file back, or import the model as it is now by `normgrowth import-model --path {folder} --out "
        f"{linked}`, and the workflow makes anew what was made from it"
    )
    assert f"{name}, kept as {folder / name}, is not the file" in refusal(linked)
    flip(folder / name)
    load_model(linked)


def test_a_file_changed_in_the_hubs_cache_is_to_be_fetched_again(folder, linked):
    manifest = read_manifest(linked)
    write_json(linked / MANIFEST, manifest | {"source": {"kind": "hub", "repo": "a/b", "revision": "c" * 40}})
    flip(folder / "model.safetensors")
    assert refusal(linked).endswith(
        f"delete {folder / 'model.safetensors'}, the Hub's cache of it, and fetch it again by `normgrowth fetch-model "
        f"--repo a/b --revision {'c' * 40} --out {linked}`"
    )


def test_what_loading_would_read_and_the_manifest_does_not_name_is_refused(folder):
    (folder / "added_tokens.json").write_text("{}")
    assert "holds added_tokens.json, which its manifest.json does not name" in refusal(folder)
    (folder / "added_tokens.json").unlink()
    (folder / "README.md").write_text("Not read.")
    load_model(folder)


def test_what_the_manifest_names_and_is_gone_is_refused(folder):
    (folder / "generation_config.json").unlink()
    assert "lacks generation_config.json, which its manifest.json names; delete" in refusal(folder)


def test_shards_and_their_index_are_verified(tmp_path):
    folder = tmp_path / "model"
    small_models.model_of("gpt2").save_pretrained(folder, max_shard_size="60KB")
    small_models.tokenizer("gpt2").save_pretrained(folder)
    write_manifest(folder, {"kind": "test"})
    load_model(folder)
    for file in sorted(folder.glob("model*")):
        flip(file)
        assert f"{file.name} is not the file that manifest.json names" in refusal(folder)
        flip(file)
    load_model(folder)


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "not UTF-8": lambda data: b"\xff\xfe" + data,
    "not JSON": lambda data: b"x" + data,
    "a list": lambda data: b"[1]",
    "nested": lambda data: b"[" * 1_000_000,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_manifest_is_named_and_moved_aside(folder, how):
    path = folder / MANIFEST
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    assert refusal(folder).startswith(f"{path} is damaged (")
    assert (folder / f"{MANIFEST}.damaged").exists()
    # It is not forgotten that there was one.
    assert f"{path} does not exist; the workflow makes it" in refusal(folder)
    with pytest.raises(ModelError, match="does not exist"):
        revision(folder)


@pytest.mark.parametrize("how", ["not JSON", "a list", "nested"])
def test_a_manifest_that_was_never_one_is_named(folder, how):
    data = DAMAGE[how](b"{}")
    (folder / MANIFEST).write_bytes(data)
    line = f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}"
    check = hashlib.sha256(line.encode()).hexdigest()
    (folder / f"{MANIFEST}.sha256").write_text(f"{line}\n# sha256 of the line above: {check}\n")
    assert refusal(folder).startswith(f"{folder / MANIFEST} {'is no manifest' if how == 'a list' else 'holds no JSON'}")


def test_a_manifest_without_its_digest_is_refused(folder):
    (folder / f"{MANIFEST}.sha256").unlink()
    assert f"{MANIFEST}.sha256, the digest of {MANIFEST}, does not exist" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", MANIFEST])
@pytest.mark.parametrize("command", LOADING)
def test_every_command_that_loads_a_model_refuses_a_changed_one(tmp_path, capsys, command, name):
    bench = Workbench(tmp_path)
    capsys.readouterr()  # what transformers says while it saves
    flip(bench.model / name)
    options = {"editor": "mend", "settings": "{}"} if command == "hypernetwork" else {}
    assert bench.run(command, **options) == 1
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert said.startswith(f"normgrowth {command}: ") and str(bench.model) in said and name in said
    assert not bench.out.exists()


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """Every file counts as large; the files that were hashed, manifests left out."""
    hashed = []

    def work_out(path):
        hashed.extend([Path(path).name] if Path(path).name != MANIFEST else [])
        return file_sha256(path)

    monkeypatch.setattr(known_hashes, "LARGE", 0)
    monkeypatch.setattr(known_hashes, "file_sha256", work_out)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NORMGROWTH_VERIFY", raising=False)
    return hashed


def test_large_files_are_hashed_once_and_again_when_they_change(folder, counted):
    for _ in range(3):
        verify(folder)
    assert sorted(counted) == list(FILES)
    weights = folder / "model.safetensors"
    state = weights.stat()
    flip(weights)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # size and time of last change as before
    with pytest.raises(ModelError, match=r"model\.safetensors is not the file"):
        verify(folder)
    with pytest.raises(ModelError, match=r"model\.safetensors is not the file"):
        verify(folder)
    assert counted[len(FILES) :] == ["model.safetensors"] * 2
    flip(weights)
    verify(folder)
    assert len(counted) == len(FILES) + 3


def test_a_large_file_of_another_machine_or_place_is_hashed_there(folder, counted, monkeypatch, tmp_path):
    verify(folder)
    shutil.copytree(folder, tmp_path / "copy")
    verify(tmp_path / "copy")
    assert len(counted) == 2 * len(FILES)
    monkeypatch.setattr(known_hashes.socket, "gethostname", lambda: "another")
    verify(folder)
    assert len(counted) == 3 * len(FILES)


def test_large_files_are_always_hashed_where_the_user_says_so(folder, counted, monkeypatch):
    verify(folder)
    monkeypatch.setenv("NORMGROWTH_VERIFY", "always")
    verify(folder)
    assert len(counted) == 2 * len(FILES)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"[" * 1_000_000])
def test_a_damaged_memory_costs_another_look(folder, counted, tmp_path, content):
    verify(folder)
    for note in (tmp_path / "cache/normgrowth/verified").iterdir():
        note.write_bytes(content)
    verify(folder)
    assert len(counted) == 2 * len(FILES)
    verify(folder)
    assert len(counted) == 2 * len(FILES)


def test_a_memory_that_says_something_wrong_is_not_believed(folder, counted, tmp_path):
    verify(folder)
    for note in (tmp_path / "cache/normgrowth/verified").iterdir():
        note.write_text(json.dumps(json.loads(note.read_text()) | {"digest": "0" * 64}))
    verify(folder)
    assert len(counted) == 2 * len(FILES)


def test_a_cache_that_cannot_be_written_costs_another_look(folder, counted, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    verify(folder)
    verify(folder)
    assert len(counted) == 2 * len(FILES)


def test_what_is_loaded_is_what_was_saved(folder, linked):
    first, second = (dict(load_model(place).model.named_parameters()) for place in (folder, linked))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_large_tables_tensors_and_texts_are_hashed_once_too(tmp_path, counted, monkeypatch):
    places = []
    work_out = digests._digest_without
    monkeypatch.setattr(digests, "_digest_without", lambda data, place: places.append(place) or work_out(data, place))
    path, text = tmp_path / "state.safetensors", tmp_path / "text.txt"
    write_tensors(path, {"a": torch.ones(3)}, {}, "state")
    write_text(text, "words")
    written = len(places)
    for _ in range(2):
        read_tensors(path, "state")
        intact(text)
    assert len(places) == written + 1 and counted == ["text.txt"]
    flip(path)
    with pytest.raises(ArtefactError, match="its bytes do not match the digest that it carries"):
        read_tensors(path, "state")


def test_tasks_are_not_evaluated_on_a_changed_model(tmp_path, capsys):
    """Found before the harness is looked for, so that it need not be installed."""
    bench = Workbench(tmp_path)
    write_json(bench.facts, bench.records)
    capsys.readouterr()
    flip(bench.model / "model.safetensors")
    given = {"study": "s", "model-name": "m", "editor-name": "unedited", "order": 0, "seed": 0, "step": 0}
    given |= {"model": bench.model, "facts": bench.facts, "tasks": "small_homes", "out": tmp_path / "out.parquet"}
    assert main(["evaluate", *(str(word) for name, value in given.items() for word in (f"--{name}", value))]) == 1
    assert "model.safetensors is not the file that manifest.json names" in capsys.readouterr().err
