"""Files of checkpoints that are damaged, left over or missing: each is named in one line, by the import already."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support import small_models
from tests.support.checkpoints import DOWN, add, bring_in, loads_as, refused, rename, saved, shard, write_adapter


@pytest.fixture(params=small_models.ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def folder(architecture, tmp_path):
    return saved(architecture, tmp_path / "model")


def test_shards_load(architecture, folder):
    assert len(shard(folder, architecture)) > 2
    loads_as(architecture, folder)


def test_shards_and_index_must_agree(architecture, folder, capsys):
    shards = shard(folder, architecture)
    index = folder / "model.safetensors.index.json"
    whole, second = index.read_text(), shards[1].read_bytes()

    shards[1].unlink()
    refused(folder, capsys, f"lacks {shards[1].name}, which model.safetensors.index.json names")
    shards[1].write_bytes(second)

    stray = folder / "model-00009-of-00009.safetensors"
    stray.write_bytes(second)
    refused(folder, capsys, f"holds {stray.name}, which model.safetensors.index.json does not name")
    stray.rename(folder / "model.safetensors")
    refused(folder, capsys, "holds model.safetensors, which model.safetensors.index.json does not name")
    (folder / "model.safetensors").unlink()

    save_file(load_file(shards[0]) | load_file(shards[1]), shards[0])
    refused(folder, capsys, f"stands in {shards[0].name} and in {shards[1].name}")
    save_file(load_file(shards[0]), shards[1])
    refused(folder, capsys, "stands in")
    shards[1].write_bytes(second)

    index.write_text(whole.replace("ln_1.weight", "ln_one.weight").replace("q_proj", "query"))
    assert index.read_text() != whole
    code, _ = bring_in(folder)
    assert code == 1
    for text in ("{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        code, _ = bring_in(folder)
        assert code == 1 and "is no index of weights" in capsys.readouterr().err
    index.write_text('{"weight_map": {"a": "../other.safetensors"}}')
    code, _ = bring_in(folder)
    assert (
        code == 1 and "names '../other.safetensors', which is no safetensors file beside it" in capsys.readouterr().err
    )
    index.unlink()
    refused(folder, capsys, "lacks model.safetensors.index.json, which says what its shards hold")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", b"", "damaged, cut or no safetensors file"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "no safetensors"),
        ("config.json", b"", "config.json is not JSON"),
        ("config.json", b"{}", "config.json names no model_type"),
        ("config.json", b"[]", "config.json is not a JSON object but a list"),
        ("config.json", b"null", "config.json is not a JSON object"),
        ("config.json", b'{"model_type": "gpt2", ', "config.json is not JSON"),
        ("config.json", '{"model_type": "gpt2"}'.encode("utf-16"), "config.json is not JSON: it is not UTF-8 text"),
        ("config.json", b"[" * 100_000, "config.json is not JSON"),
        ("config.json", b'{"model_type": "no-such"}', "transformers has no such model_type"),
        ("config.json", b'{"model_type": ["gpt2"]}', "config.json names no model_type"),
        ("config.json", b'{"model_type": "t5"}', "t5, which is no causal language model"),
        ("config.json", b'{"model_type": "clip"}', "clip, which is no causal language model"),
        ("generation_config.json", b"[]", "generation_config.json is not a JSON object but a list"),
        ("generation_config.json", b"{", "generation_config.json is not JSON"),
        ("tokenizer.json", b"{}", "the tokenizer's files are damaged or of another kind"),
        ("tokenizer.json", b"[]", "the tokenizer's files are damaged or of another kind"),
        ("tokenizer.json", b'{"version": "1.0", "model": {', "the tokenizer's files are damaged or of another kind"),
        ("tokenizer.json", b"\xff\xfe{", "the tokenizer's files are damaged or of another kind"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json is not a JSON object but a list"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
    ],
)
def test_damaged_files_are_named(folder, file, content, said, capsys):
    (folder / file).write_bytes(content)
    refused(folder, capsys, said)


def test_weights_that_were_cut_are_refused(folder, capsys):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(folder, capsys, "model.safetensors cannot be read: it is damaged, cut or no safetensors file")


def test_a_byte_order_mark_does_no_harm(architecture, folder):
    config = folder / "config.json"
    config.write_text(config.read_text(), encoding="utf-8-sig")
    loads_as(architecture, folder)


def test_an_adapter_beside_a_model_is_refused(folder, capsys):
    write_adapter(folder, "owner/base")
    refused(folder, capsys, "holds an adapter (adapter_config.json) beside a model", "merge_and_unload", "take")
    (folder / "adapter_config.json").unlink()
    refused(folder, capsys, "holds an adapter (adapter_model.safetensors) beside a model")


def test_an_adapter_alone_is_no_model(tmp_path, capsys):
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_adapter(folder, "owner/base")
    refused(folder, capsys, "holds an adapter of owner/base, not a model", "merge_and_unload")


def test_adapters_that_were_not_merged_are_refused(architecture, folder, capsys):
    name = DOWN[architecture]
    base = name.replace(".weight", ".base_layer.weight")
    rename(folder, lambda other: "base_model.model." + (base if other == name else other))
    add(folder, {f"base_model.model.{name.replace('weight', 'lora_A.default.weight')}": torch.ones(2, 2)})
    refused(folder, capsys, name, "An adapter is among them", "merge_and_unload")
