"""Checkpoints as people have them: a small model's folder, and changes to its weights, configuration and tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoTokenizer

from normgrowth.cli import main
from normgrowth.errors import ModelError
from normgrowth.sources.loading import load_model
from tests.support import small_models

LAYER_KEY = {"gpt2": "n_layer", "llama": "num_hidden_layers"}
FIRST_NORM = {"gpt2": "transformer.h.0.ln_1.weight", "llama": "model.layers.0.input_layernorm.weight"}
DOWN = {"gpt2": "transformer.h.1.mlp.c_proj.weight", "llama": "model.layers.1.mlp.down_proj.weight"}
EMBEDDING = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}
HEAD = "lm_head.weight"

Tensors = dict[str, torch.Tensor]


def saved(architecture: str, folder: Path) -> Path:
    """A model folder as transformers saves it."""
    small_models.model_of(architecture).save_pretrained(folder)
    small_models.tokenizer(architecture).save_pretrained(folder)
    return folder


def change_tensors(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Save the weights again as `change` returns them."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    changed = {name: tensor.clone().contiguous() for name, tensor in change(tensors).items()}
    save_file(changed, path, metadata={"format": "pt"})


def rename(folder: Path, change: Callable[[str], str]) -> None:
    """Save the weights again under other names."""
    change_tensors(folder, lambda tensors: {change(name): tensor for name, tensor in tensors.items()})


def without(folder: Path, unwanted: Callable[[str], bool]) -> None:
    """Save the weights again without some of them."""
    change_tensors(folder, lambda tensors: {n: tensor for n, tensor in tensors.items() if not unwanted(n)})


def add(folder: Path, tensors: Tensors) -> None:
    """Save the weights again with more of them."""
    change_tensors(folder, lambda there: there | tensors)


def put(folder: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    """Put a value into a tensor, which is then of this type."""

    def change(tensors: Tensors) -> Tensors:
        tensors[name] = tensors[name].to(dtype)
        tensors[name].view(-1)[3] = value
        return tensors

    change_tensors(folder, change)


def configure(folder: Path, file: str = "config.json", **values: object) -> None:
    """Change keys of a JSON file; those given as None are taken away."""
    path = folder / file
    stated = json.loads(path.read_text()) if path.exists() else {}
    stated |= values
    path.write_text(json.dumps({key: value for key, value in stated.items() if value is not None}))


def shard(folder: Path, architecture: str) -> list[Path]:
    """Cut the weights into shards with an index; return the shards."""
    (folder / "model.safetensors").unlink()
    small_models.model_of(architecture).save_pretrained(folder, max_shard_size="60KB")
    return sorted(folder.glob("model-*.safetensors"))


def add_token(folder: Path, token: str, special: bool, **names: str) -> None:
    """Give the tokenizer a token that the embedding has no row for, and perhaps a part to play, as `pad_token`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(token, special=special)], special_tokens=special)
    for part, name in names.items():
        setattr(tokenizer, part, name)
    tokenizer.save_pretrained(folder)


def write_adapter(folder: Path, base: str) -> None:
    """Put the files of an adapter into a folder."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    save_file({"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")


def bring_in(folder):
    """The exit code of the model's import, and the folder made, which was not there before."""
    out = folder.parent / "imported"
    shutil.rmtree(out, ignore_errors=True)
    return main(["import-model", "--path", str(folder), "--out", str(out)]), out


def loads_as(architecture, folder, expected=None):
    """Assert that import and loading give the small model's own weights, each time."""
    code, out = bring_in(folder)
    assert code == 0
    expected = expected or small_models.model_of(architecture).state_dict()
    for place in (out, folder, out):
        found = load_model(place).model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def refused(folder, capsys, *said):
    """Assert that import and loading refuse the model in one line that says this; the import leaves nothing."""
    code, out = bring_in(folder)
    printed = capsys.readouterr().err.strip()
    assert code == 1
    assert not out.exists()
    assert printed.startswith(f"normgrowth import-model: model folder {folder} ") and "\n" not in printed
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    for words in said:
        assert words in printed
        assert words in str(caught.value)
    assert "\n" not in str(caught.value) and ".partial" not in printed
