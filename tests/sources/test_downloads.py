"""Files and models from the web, fetched from a server on this machine."""

import hashlib
import json

import pytest

from normgrowth.cli import main
from normgrowth.errors import ArtefactError, ModelError
from normgrowth.sources.hub import fetch_model
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import read_manifest, revision
from normgrowth.sources.web import download
from tests.support import small_models
from tests.support.web import CUT, REVISION, serving

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()
REPO = "owner/tiny"
OTHER = "f" * 40


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.setattr("normgrowth.sources.web.PAUSES", (0.01, 0.01, 0.01))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.address)
        yield web


@pytest.fixture
def model(web, tmp_path):
    """A small model as the Hub serves it, pickled weights, code and a folder beside it."""
    folder = small_models.save("gpt2", tmp_path / "published")
    (folder / "manifest.json").unlink()
    (folder / "original").mkdir()
    for name in ("pytorch_model.bin", "modeling_tiny.py", "original/consolidated.safetensors", "README.md"):
        (folder / name).write_bytes(b"-")
    web.serve_model(REPO, folder)
    return folder


def left_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_whole(web, tmp_path):
    out = tmp_path / "deep" / "file"
    download(web.serve("/file", BODY), out, SHA256, len(BODY))
    assert out.read_bytes() == BODY
    assert left_in(out.parent) == ["file"]
    assert "range" not in web.asked("/file")[0].headers


def test_a_broken_connection_is_gone_on_with(web, tmp_path):
    url = web.serve("/file", BODY)
    web.faults["/file"] = [CUT]
    download(url, tmp_path / "out" / "file", SHA256)
    first, second = web.asked("/file")
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={len(BODY) // 2}-"
    assert second.headers["if-range"] == web.answers["/file"].headers["ETag"]
    assert (tmp_path / "out" / "file").read_bytes() == BODY


def test_each_gain_renews_the_patience(web, tmp_path):
    url = web.serve("/file", BODY)
    web.faults["/file"] = [CUT] * 8
    download(url, tmp_path / "file", SHA256)
    assert len(web.asked("/file")) == 9


def test_another_run_goes_on_where_one_stopped(web, tmp_path, monkeypatch):
    url, out = web.serve("/file", BODY), tmp_path / "out" / "file"
    web.faults["/file"] = [CUT]
    monkeypatch.setattr("normgrowth.sources.web.PAUSES", ())
    with pytest.raises(ArtefactError, match=r"the connection broke after 512000 of 1024000 bytes; the same command"):
        download(url, out, SHA256)
    assert not out.exists()
    download(url, out, SHA256)
    assert web.asked("/file")[-1].headers["range"] == "bytes=512000-"
    assert left_in(out.parent) == ["file"]


def test_a_run_stopped_just_before_the_end(web, tmp_path):
    url, out = web.serve("/file", BODY), tmp_path / "file"
    (tmp_path / ".file.part").write_bytes(BODY)
    (tmp_path / ".file.version").write_text(web.answers["/file"].headers["ETag"])
    download(url, out, SHA256)
    assert out.read_bytes() == BODY


def test_bytes_of_two_versions_never_meet(web, tmp_path, monkeypatch):
    url, out = web.serve("/file", b"old" * 1000), tmp_path / "file"
    web.faults["/file"] = [CUT]
    monkeypatch.setattr("normgrowth.sources.web.PAUSES", ())
    with pytest.raises(ArtefactError):
        download(url, out, SHA256)
    web.serve("/file", BODY)
    download(url, out, SHA256)
    assert out.read_bytes() == BODY


def test_without_a_tag_it_begins_anew(web, tmp_path):
    url = web.serve("/file", BODY, ETag='W/"weak"')
    web.faults["/file"] = [CUT]
    download(url, tmp_path / "file", SHA256)
    assert "range" not in web.asked("/file")[1].headers


def test_busy_servers_are_asked_again(web, tmp_path, capsys):
    url = web.serve("/file", BODY)
    web.faults["/file"] = [503, 500]
    download(url, tmp_path / "file", SHA256)
    assert f"{url} answered 503 Service Unavailable; trying again in 0.01 s" in capsys.readouterr().err


def test_patience_ends(web, tmp_path):
    url = web.serve("/file", BODY)
    web.faults["/file"] = [503] * 9
    with pytest.raises(ArtefactError, match=rf"{url} answered 503 .* put it at .*file"):
        download(url, tmp_path / "file", SHA256)
    assert len(web.asked("/file")) == 4


def test_a_wrong_address_is_said_at_once(web, tmp_path):
    with pytest.raises(ArtefactError, match=rf"{web.address}/nothing answered 404 .*: check the address"):
        download(f"{web.address}/nothing", tmp_path / "file", SHA256)
    assert len(web.requests) == 1


def test_a_server_that_is_not_there(web, tmp_path):
    with pytest.raises(ArtefactError, match=r"http://127.0.0.1:1/file cannot be reached: .*refused"):
        download("http://127.0.0.1:1/file", tmp_path / "file", SHA256)


def test_a_wrong_hash_names_both(web, tmp_path, capsys):
    out = tmp_path / "out" / "file"
    url = web.serve("/file", BODY[1:])
    found = hashlib.sha256(BODY[1:]).hexdigest()
    assert main(["fetch-file", "--url", url, "--sha256", SHA256, "--out", str(out)]) == 1
    assert f"{url} has sha256 {found} (1023999 bytes), but {SHA256} is pinned" in capsys.readouterr().err
    assert left_in(out.parent) == []


def test_a_wrong_size_is_refused_before_it_is_fetched(web, tmp_path):
    url = web.serve("/file", BODY)
    with pytest.raises(ArtefactError, match="holds 1024000 bytes, but 7 are pinned"):
        download(url, tmp_path / "out" / "file", SHA256, 7)
    assert left_in(tmp_path / "out") == []


def test_a_model_of_the_hub(web, model, tmp_path):
    out = tmp_path / "resources" / "tiny"
    arguments = ["--repo", REPO, "--revision", REVISION, "--layers", str(small_models.N_LAYERS), "--out", str(out)]
    assert main(["fetch-model", *arguments]) == 0
    assert read_manifest(out)["source"] == {"kind": "hub", "repo": REPO, "revision": REVISION}
    assert revision(out) == revision(small_models.save("gpt2", tmp_path / "again"))
    assert load_model(out).anatomy.n_layers == small_models.N_LAYERS
    fetched = {request.path.rpartition("/")[2] for request in web.asked("") if "/resolve/" in request.path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not fetched & {"pytorch_model.bin", "modeling_tiny.py", "consolidated.safetensors", "README.md"}
    assert {REVISION in request.path for request in web.requests} == {True}


def test_a_model_whose_context_is_shorter_than_what_the_study_reads_is_refused(web, model, tmp_path, capsys):
    out = tmp_path / "resources" / "tiny"
    arguments = ["fetch-model", "--repo", REPO, "--revision", REVISION, "--out", str(out), "--to-read"]
    assert main([*arguments, "measure.text_window=65", "measure.generation_tokens=40"]) == 1
    said = f"measure.text_window is 65, and the context of {REPO} holds 64 tokens: set it to 64 or less"
    assert capsys.readouterr().err.splitlines()[-1] == f"normgrowth fetch-model: {said}"
    assert not out.exists()
    assert main([*arguments, "measure.text_window=64"]) == 0


def test_shards_are_those_of_the_index(web, tmp_path):
    folder = tmp_path / "sharded"
    small_models.model_of("gpt2").save_pretrained(folder, max_shard_size="100KB")
    small_models.tokenizer("gpt2").save_pretrained(folder)
    (folder / "consolidated.safetensors").write_bytes(b"-")
    shards = set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())
    assert len(shards) > 1
    web.serve_model(REPO, folder)
    names = [path.name for path in fetch_model(REPO, REVISION)]
    assert {name for name in names if name.endswith(".safetensors")} == shards
    assert not web.asked("consolidated.safetensors")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_weights_that_were_damaged_in_the_cache_are_refused(web, model, monkeypatch, offline):
    body = (model / "model.safetensors").read_bytes()
    digest = hashlib.sha256(body).hexdigest()
    path = f"/{REPO}/resolve/{REVISION}/model.safetensors"
    web.serve(path, body, **{"X-Repo-Commit": REVISION, "ETag": f'"{digest}"'})
    (weights,) = (file for file in fetch_model(REPO, REVISION) if file.name == "model.safetensors")
    assert weights.resolve().name == digest
    weights.resolve().write_bytes(body[:-1] + b"x")
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(ModelError, match=rf"{digest} in the Hub's cache is damaged: .* delete it and fetch the model"):
        fetch_model(REPO, REVISION)
    weights.resolve().unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    fetch_model(REPO, REVISION)
    assert weights.read_bytes() == body


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff{}", b"[" * 1_000_000])
def test_a_damaged_configuration_is_one_line(web, tmp_path, capsys, content):
    folder = small_models.save("gpt2", tmp_path / "tiny")
    (folder / "config.json").write_bytes(content)
    web.serve_model(REPO, folder)
    command = ["fetch-model", "--repo", REPO, "--revision", REVISION, "--to-read", "measure.text_window=9"]
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("normgrowth fetch-model: ") and "config.json is not " in said


def test_a_second_run_fetches_nothing_again(web, model):
    fetch_model(REPO, REVISION)
    web.requests.clear()
    fetch_model(REPO, REVISION)
    assert [request.path for request in web.requests] == [f"/api/models/{REPO}/revision/{REVISION}"]


def test_a_model_goes_on_where_the_connection_broke(web, model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # whole chunks are kept: of 10 MB
    web.faults[f"/{REPO}/resolve/{REVISION}/model.safetensors"] = [CUT]
    weights = next(path for path in fetch_model(REPO, REVISION) if path.name == "model.safetensors")
    assert weights.read_bytes() == (model / "model.safetensors").read_bytes()
    first, second = web.asked("model.safetensors")
    assert "range" not in first.headers
    half = (model / "model.safetensors").stat().st_size // 2
    assert second.headers["range"] == f"bytes={half // 1000 * 1000}-"


def test_a_busy_hub_is_asked_again(web, model):
    web.faults[f"/api/models/{REPO}/revision/{REVISION}"] = [503]
    web.faults[f"/{REPO}/resolve/{REVISION}/model.safetensors"] = [500, 503]
    assert fetch_model(REPO, REVISION)
    assert len(web.asked("model.safetensors")) == 3


def test_a_gated_model_is_explained(web, model):
    web.forbid(REPO, "GatedRepo")
    with pytest.raises(ModelError, match=r"owner/tiny is gated: .* at https://huggingface.co/owner/tiny, .* HF_TOKEN"):
        fetch_model(REPO, REVISION)


def test_a_branch_is_refused(web, model):
    with pytest.raises(ModelError, match=r"revision 'main' of owner/tiny: a branch, a tag or a short hash can come to"):
        fetch_model(REPO, "main")
    assert web.requests == []


def test_unknown_names_are_explained(web, model):
    with pytest.raises(ModelError, match=rf"owner/tinny is not on {web.address}, or it is private: correct the name"):
        fetch_model("owner/tinny", REVISION)
    with pytest.raises(ModelError, match=rf"owner/tiny has no commit {OTHER}: its commits stand at https://"):
        fetch_model(REPO, OTHER)


def test_pickled_weights_are_not_fetched(web, model):
    (model / "model.safetensors").unlink()
    web.serve_model(REPO, model)
    with pytest.raises(ModelError, match="has no safetensors weights, only pickled ones, which are not loaded"):
        fetch_model(REPO, REVISION)
    assert not web.asked("pytorch_model.bin")


def test_an_index_may_not_lead_elsewhere(web, model):
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../model.safetensors"}}')
    web.serve_model(REPO, model)
    with pytest.raises(ModelError, match=r"names '../../model.safetensors', which is no safetensors file beside it"):
        fetch_model(REPO, REVISION)


def test_other_layers_than_the_study_took_are_refused(web, model, tmp_path, capsys):
    arguments = ["--repo", REPO, "--revision", REVISION, "--layers", "48", "--out", str(tmp_path / "out")]
    assert main(["fetch-model", *arguments]) == 1
    assert "owner/tiny has 4 layers, but the study took it for a model of 48" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_offline_the_cache_is_used_and_nothing_asked(web, model, monkeypatch):
    fetched = fetch_model(REPO, REVISION)
    web.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch_model(REPO, REVISION) == fetched
    assert web.requests == []


def test_offline_what_is_missing_is_named(web, model, monkeypatch):
    (weights,) = (path for path in fetch_model(REPO, REVISION) if path.name == "model.safetensors")
    weights.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        fetch_model(REPO, REVISION)
    assert f"lacks model.safetensors of {REPO} at {REVISION}" in str(caught.value)
    assert f"`normgrowth fetch-model --repo {REPO} --revision {REVISION}`" in str(caught.value)
    with pytest.raises(ModelError, match=r"lacks config.json, model.safetensors, the tokenizer's files of owner/other"):
        fetch_model("owner/other", REVISION)


def test_a_hub_that_is_gone_leaves_the_cache(web, model):
    fetched = fetch_model(REPO, REVISION)
    web.faults[f"/api/models/{REPO}/revision/{REVISION}"] = [503] * 9
    assert fetch_model(REPO, REVISION) == fetched
