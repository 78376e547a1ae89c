"""Checkpoints as people have them: each loads with every tensor from its file, or is refused in one line that says why,
by its import already."""

import pytest
import torch

from normgrowth.sources.loading import load_model
from tests.support import architectures, small_models
from tests.support.checkpoints import (
    DOWN,
    EMBEDDING,
    FIRST_NORM,
    HEAD,
    LAYER_KEY,
    add,
    change_tensors,
    configure,
    loads_as,
    put,
    refused,
    rename,
    saved,
    without,
)


@pytest.fixture(params=small_models.ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture
def folder(architecture, tmp_path):
    return saved(architecture, tmp_path / "model")


@pytest.mark.parametrize("family", sorted(architectures.ARCHITECTURES))
def test_every_family_fits_as_transformers_saves_it(family, tmp_path):
    model = architectures.model_of(family)
    model.save_pretrained(tmp_path / "model")
    kind = architectures.ARCHITECTURES[family].tokenizer
    small_models.tokenizer(kind).save_pretrained(tmp_path / "model")
    loads_as(kind, tmp_path / "model", model.state_dict())


# Names.


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"language_model.{name}",
        lambda name: name.replace(".1.", ".1._orig_mod."),
        lambda name: name.replace(".1.", ".1._checkpoint_wrapped_module."),
        lambda name: "_orig_mod." + name.replace(".1.", ".1._orig_mod."),
        lambda name: f"_fsdp_wrapped_module.{name}".replace(".2.", ".2._fsdp_wrapped_module."),
        lambda name: f"_orig_mod.{name}" if ".1." in name else name,
    ],
)
def test_what_wrappers_put_into_names_is_left_out_and_said(architecture, folder, renamed, capsys):
    rename(folder, renamed)
    loads_as(architecture, folder)
    told = capsys.readouterr().err
    if architecture == "llama" and renamed("x") == "model.x":
        assert told == ""  # transformers' own rule takes it off
    else:
        assert "tensors are read by shorter names" in told


def test_a_trunk_has_its_head_in_the_embedding_or_none(architecture, folder, capsys):
    without(folder, lambda name: name == HEAD)
    rename(folder, lambda name: name.partition(".")[2])
    if architecture == "gpt2":  # its head is tied
        loads_as(architecture, folder)
    else:
        refused(folder, capsys, "they lack 1 tensor of the model (lm_head.weight)", "set tie_word_embeddings to true")


def test_unknown_names_are_refused(architecture, folder, capsys):
    rename(folder, lambda name: f"somebody.{name}")
    lacking = len(small_models.model_of(architecture).state_dict())
    refused(folder, capsys, f"they lack {lacking} tensors of the model", "and hold", "(somebody.", "more)")


@pytest.mark.parametrize("again", ["_orig_mod.", "module."])
def test_two_tensors_that_are_one_are_refused(architecture, folder, again, capsys):
    name = DOWN[architecture]
    add(folder, {again + name: torch.zeros(88, 32)})
    refused(folder, capsys, again + name)


def test_a_tensor_with_and_without_its_trunk_is_refused(architecture, folder, capsys):
    name = FIRST_NORM[architecture]
    inner = name.partition(".")[2]
    add(folder, {inner: torch.zeros(32)})
    refused(folder, capsys, f"{inner} and {name} are one tensor of the model")


# Tensors that are missing, left over or of another kind.


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_missing_layer_is_refused(folder, layer, capsys):
    without(folder, lambda name: f".{layer}." in name)
    refused(folder, capsys, "they lack", f".{layer}.", "config.json says 4 layers, but the weights beside it hold 3")


def test_a_missing_tensor_is_refused(architecture, folder, capsys):
    name = DOWN[architecture]
    without(folder, lambda other: other == name)
    refused(folder, capsys, f"they lack 1 tensor of the model ({name})")


def test_an_embedding_that_is_missing_is_refused(architecture, folder, capsys):
    name = EMBEDDING[architecture]
    without(folder, lambda other: other == name)
    refused(folder, capsys, "they lack", name)


@pytest.mark.parametrize(
    ("stated", "said"), [(3, "hold"), (5, "lack"), (10**9, "hold"), (0, "one at least"), (-1, "one")]
)
def test_another_number_of_layers_is_refused(architecture, folder, stated, said, capsys):
    configure(folder, **{LAYER_KEY[architecture]: stated})
    refused(folder, capsys, f"{stated} layers", said)


@pytest.mark.parametrize("stated", ["4", 4.5, True, [4]])
def test_a_number_of_layers_that_is_none_is_refused(architecture, folder, stated, capsys):
    configure(folder, **{LAYER_KEY[architecture]: stated})
    refused(folder, capsys, LAYER_KEY[architecture])


@pytest.mark.parametrize("name", ["score.weight", "v_head.summary.weight", "classifier.bias"])
def test_another_head_is_refused(folder, name, capsys):
    add(folder, {name: torch.zeros(2, 32)})
    refused(folder, capsys, f"hold 1 tensor that it does not have ({name})")


def test_masks_and_positions_of_older_versions_do_no_harm(architecture, folder):
    add(
        folder,
        {
            "transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8),
            "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        },
    )
    loads_as(architecture, folder)


def test_another_shape_is_refused(architecture, folder, capsys):
    configure(folder, vocab_size=500)
    rows = len(small_models.tokenizer(architecture))
    refused(folder, capsys, f"{EMBEDDING[architecture]}, {rows}x32 and not 500x32")


def test_a_model_of_another_kind_is_refused(architecture, folder, capsys):
    configure(folder, model_type={"gpt2": "gptj", "llama": "qwen2"}[architecture])
    refused(folder, capsys, "they lack")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(architecture, folder, dtype, capsys):
    name = DOWN[architecture]
    change_tensors(folder, lambda tensors: tensors | {name: tensors[name].mul(10).to(dtype)})
    refused(folder, capsys, name, "Quantised weights cannot be edited")
    add(folder, {f"{name}_scale": torch.ones(32)})
    refused(folder, capsys, f"{name}_scale", "Quantised weights cannot be edited")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stated", ["float16", "bfloat16", "float64", "nonsense"])
def test_weights_of_any_precision_come_out_in_float32(architecture, folder, dtype, stated):
    change_tensors(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    configure(folder, torch_dtype=stated, dtype=stated)
    exact = small_models.model_of(architecture).to(dtype).float().state_dict()
    loads_as(architecture, folder, exact)


def test_a_head_beside_a_tied_embedding_must_be_the_same(architecture, folder, capsys):
    configure(folder, tie_word_embeddings=True)
    if architecture == "gpt2":
        change_tensors(folder, lambda tensors: tensors | {HEAD: tensors[EMBEDDING["gpt2"]]})
        loads_as(architecture, folder)
        change_tensors(folder, lambda tensors: tensors | {HEAD: tensors[EMBEDDING["gpt2"]] + 1})
    said = f"config.json ties lm_head.weight to {EMBEDDING[architecture]} (tie_word_embeddings), but the weights hold"
    refused(folder, capsys, said, "set it to false")


def test_a_tied_head_that_is_said_not_to_be_is_refused(tmp_path, capsys):
    folder = saved("gpt2", tmp_path / "model")
    configure(folder, tie_word_embeddings=False)
    refused(folder, capsys, "lack 1 tensor of the model (lm_head.weight)", "set tie_word_embeddings to true")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(architecture, folder, value, dtype, capsys):
    for name in (DOWN[architecture], FIRST_NORM[architecture]):
        put(folder, name, value, dtype)
    refused(folder, capsys, "NaN or infinite values", DOWN[architecture], FIRST_NORM[architecture])


def test_weights_beyond_float32_are_refused(architecture, folder, capsys):
    put(folder, DOWN[architecture], 1e300, torch.float64)
    refused(folder, capsys, "NaN or infinite values", DOWN[architecture])


# What a configuration asks for.


@pytest.mark.parametrize(
    "asked",
    [
        {"attn_implementation": "flash_attention_2"},
        {"_attn_implementation": "flash_attention_2"},
        {"_attn_implementation_internal": "flash_attention_3"},
        {"attn_implementation": "someone/kernel"},
        {"experts_implementation": "someone/kernel"},
        {"use_cache": False},
        {"return_dict": False, "output_attentions": True, "output_hidden_states": True},
        {"torchscript": True},
        {"pad_token_id": 50_000},
        {"pad_token_id": -1},
        {"bos_token_id": 50_000, "eos_token_id": [50_000]},
        {"num_labels": 1, "problem_type": "single_label_classification"},
        {"id2label": {"a": "b"}},
        {"configuration_files": ["config.99.0.json"]},
        {"transformers_weights": "other.safetensors"},
        {"quantization_config": {}},
    ],
)
def test_how_a_model_is_run_is_not_the_checkpoints_to_say(architecture, folder, asked):
    configure(folder, **asked)
    loads_as(architecture, folder)
    lm = load_model(folder)
    ids, mask = lm.pad([(1, 2, 3), (4, 5)])
    expected = small_models.language_model_of(architecture)
    assert torch.equal(lm.hidden(ids, mask), expected.hidden(ids, mask))
    assert torch.equal(lm.model(input_ids=ids).logits, expected.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "config.json asks for quantised weights (gptq)"),
        ({"quantization_config": "int8"}, "config.json asks for quantised weights"),
        ({"compression_config": {"format": "x"}}, "take compression_config away if the weights are not quantised"),
        ({"is_encoder_decoder": True}, "an encoder with a decoder (is_encoder_decoder)"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"vocab_size": 0}, "and not 0x32"),
        ({"vocab_size": 10**12}, "and not 1000000000000x32"),
        ({"n_head": 5, "num_attention_heads": 5}, "config.json"),
        ({"activation_function": "none-such", "hidden_act": "none-such"}, "none-such"),
    ],
)
def test_what_cannot_be_is_refused(folder, asked, said, capsys):
    configure(folder, **asked)
    refused(folder, capsys, said)
