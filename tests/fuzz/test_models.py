"""Model folders: tensors renamed, dropped, added and spoilt; configurations and tokenizers changed or broken; traps."""

import json
import pickle
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from normgrowth.errors import NormgrowthError
from normgrowth.sources.loading import load_model
from tests.fuzz.oracle import change_somewhere, encoded, fuzz, outcome
from tests.support import small_models

PREFIXES = ("_orig_mod.", "base_model.model.", "module.", "model.", "transformer.", "x.")
TRAP = "from pathlib import Path\nPath({!r}).touch()\nclass Trap: pass\n"


class Sprung:
    """A pickle of it leaves a mark where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for architecture in small_models.ARCHITECTURES:
        small_models.save(architecture, folder / architecture)
        (folder / architecture / "manifest.json").unlink()
    return folder


@cache
def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def spoil_tensors(draw, folder: Path) -> None:
    file = folder / "model.safetensors"
    try:
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError):  # an earlier mutation has broken it
        return
    name = draw(st.sampled_from(sorted(tensors)))
    action = draw(
        st.sampled_from(["prefix", "rename", "drop", "layer", "add", "spoil", "cast", "shape", "bytes", "none"])
    )
    if action == "prefix":
        prefix = draw(st.sampled_from(PREFIXES))
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    elif action == "rename":
        tensors[draw(st.sampled_from(["x", name + "x", name.replace("weight", "bias")]))] = tensors.pop(name)
    elif action == "drop":
        del tensors[name]
    elif action == "layer":
        tensors = {name: tensor for name, tensor in tensors.items() if ".3." not in name}
    elif action == "add":
        tensors[name.replace("3", "4") + "x"] = torch.ones(2)
    elif action == "spoil":
        value = draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
        tensors[name].view(-1)[-1] = value
    elif action == "cast":
        kind = draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.float8_e4m3fn]))
        chosen = tensors if draw(st.booleans()) else [name]
        tensors |= {name: tensors[name].to(kind) for name in chosen}
    elif action == "shape":
        tensors[name] = draw(
            st.sampled_from(
                [
                    tensors[name][:-1],
                    tensors[name].mT if tensors[name].ndim > 1 else tensors[name][1:],
                    tensors[name][None],
                ]
            )
        ).contiguous()
    save_file(tensors, file, {"format": "pt"})
    if action == "bytes":
        data = file.read_bytes()
        at = draw(st.integers(0, 400))
        spoilt = {"cut": data[:at], "short": data[:-5], "empty": b"", "bit": data[:at] + b"\xff" + data[at + 1 :]}
        file.write_bytes(spoilt[draw(st.sampled_from(sorted(spoilt)))])


def json_of(file: Path):
    """What a JSON file holds; None where an earlier mutation has broken it."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def change_json(name: str):
    def change(draw, folder: Path) -> None:
        file = folder / name
        if (document := json_of(file)) is None:
            return
        if draw(st.integers(0, 4)):
            change_somewhere(draw, document)
        else:
            document = draw(st.sampled_from([[], {}, None, "x", 1]))
        file.write_bytes(encoded(draw, json.dumps(document)))

    return change


def update(file: Path, entry: tuple[str, object]) -> None:
    if isinstance(config := json_of(file), dict):
        config.update([entry])
        file.write_text(json.dumps(config))


CONFIGURED = [
    ("n_layer", 3), ("n_layer", 5), ("num_hidden_layers", 3), ("num_hidden_layers", 5), ("num_hidden_layers", 0),
    ("vocab_size", 10), ("vocab_size", 1000), ("tie_word_embeddings", True), ("tie_word_embeddings", False),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ("quantization_config", {"quant_method": "gptq", "bits": 4}), ("quantization_config", {}),
    ("_attn_implementation", "flash_attention_2"), ("attn_implementation", "flash_attention_2"),
    ("dtype", "float16"), ("torch_dtype", "bfloat16"), ("torch_dtype", "x"), ("use_cache", False),
    ("is_encoder_decoder", True), ("model_type", "bert"), ("model_type", "t5"), ("model_type", "nothing"),
    ("architectures", None), ("architectures", ["GPT2Model"]), ("n_head", 3), ("hidden_size", 31),
    ("pad_token_id", 5000), ("bos_token_id", 5000), ("eos_token_id", None), ("rope_scaling", {"type": "x"}),
]  # fmt: skip


def configure(draw, folder: Path) -> None:
    update(folder / "config.json", draw(st.sampled_from(CONFIGURED)))


TOKENIZED = [
    ("pad_token", "<pad>"), ("pad_token", None), ("bos_token", None), ("eos_token", None), ("bos_token", "<s>"),
    ("tokenizer_class", "GPT2Tokenizer"), ("tokenizer_class", "LlamaTokenizer"), ("tokenizer_class", "Nothing"),
    ("added_tokens_decoder", {"9000": {"content": "<far>", "special": True}}), ("add_bos_token", True),
    ("use_fast", False),
    ("extra_special_tokens", {"far": "<far>"}), ("model_max_length", 1), ("padding_side", "left"),
]  # fmt: skip


def tokenize(draw, folder: Path) -> None:
    update(folder / "tokenizer_config.json", draw(st.sampled_from(TOKENIZED)))


def set_trap(draw, folder: Path) -> None:
    mark = folder.parent / "sprung"
    (folder / "trap.py").write_text(TRAP.format(str(mark)))
    with open(folder / "pytorch_model.bin", "wb") as file:
        pickle.dump(Sprung(mark), file)
    for name, classes in (
        ("config.json", {"AutoConfig": "trap.Trap", "AutoModelForCausalLM": "trap.Trap"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["trap.Trap", "trap.Trap"]}),
    ):
        if draw(st.booleans()):
            update(folder / name, ("auto_map", classes))
    if draw(st.integers(0, 3)) == 0:
        (folder / "model.safetensors").unlink(missing_ok=True)


def disturb(draw, folder: Path) -> None:
    name = draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]))
    action = draw(st.sampled_from(["remove", "folder", "dangle", "adapter", "index", "twice"]))
    if action == "adapter":
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
        save_file({"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    elif action == "index":
        index = {
            "metadata": {},
            "weight_map": {"x": draw(st.sampled_from(["model.safetensors", "missing.safetensors"]))},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif action == "twice" and (folder / "model.safetensors").is_file():
        shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    elif action in ("remove", "folder", "dangle"):
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
        if action == "folder":
            (folder / name).mkdir()
        elif action == "dangle":
            (folder / name).symlink_to(folder / "gone")


MUTATIONS = (
    spoil_tensors, spoil_tensors, spoil_tensors, configure, configure, tokenize, set_trap, disturb,
    change_json("config.json"), change_json("tokenizer_config.json"), change_json("tokenizer.json"),
)  # fmt: skip


def comes_from(folder: Path, model: torch.nn.Module) -> None:
    """Every tensor of the model stands in a file of the folder, under a name that ends alike."""
    stored = {}
    for file in folder.glob("*.safetensors"):
        stored |= load_file(file)
    for name, parameter in model.named_parameters():
        tail = ".".join(name.split(".")[-3:])
        alike = [tensor for given, tensor in stored.items() if given.endswith((tail, name.split(".")[-2] + ".weight"))]
        if name.startswith("lm_head"):  # tied: the embedding's
            alike = list(stored.values())
        assert any(t.shape == parameter.shape and torch.equal(t.float(), parameter) for t in alike), name
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all(), name


@fuzz(250)
@given(st.data())
def test_a_model_folder_is_loaded_whole_or_refused_in_one_line(tmp_path_factory, originals, data):
    folder = tmp_path_factory.mktemp("model")
    given_folder, made = folder / "given", folder / "made"
    shutil.copytree(originals / data.draw(st.sampled_from(small_models.ARCHITECTURES)), given_folder)
    for _ in range(data.draw(st.integers(1, 2))):
        data.draw(st.sampled_from(MUTATIONS))(data.draw, given_folder)
    try:
        if outcome("import-model", "--path", given_folder, "--out", made).refused:
            return
        assert not [file for file in made.iterdir() if file.suffix in (".py", ".bin")]
        try:
            lm = load_model(made)
        except NormgrowthError as error:
            assert "\n" not in str(error)
            return
        comes_from(given_folder, lm.model)
        contexts = folder / "contexts.json"
        outcome("contexts", "--model", made, "--seed", "0", "--per-length", "1", "--out", contexts)
    finally:
        assert not (folder / "sprung").exists(), "code of the folder was run"
