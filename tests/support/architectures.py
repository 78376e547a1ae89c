"""Every architecture that real studies name, in miniature, and where its parts are: written down once, as the oracle of
what the library finds by itself."""

from dataclasses import dataclass, field

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from normgrowth.lm.model import LanguageModel, language_model
from tests.support import small_models

N_LAYERS, WIDTH, INNER, HEADS, CONTEXT = 3, 32, 48, 4, 64
WINDOW = 6
"""Tokens that sliding layers look back on: fewer than any prompt under a context has."""

OWN_NAMES = {
    "vocab_size": None, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": N_LAYERS,
    "num_attention_heads": HEADS, "max_position_embeddings": CONTEXT, "initializer_range": 0.15,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
GPT2_NAMES = {
    "n_embd": WIDTH, "n_inner": INNER, "n_layer": N_LAYERS, "n_head": HEADS, "n_positions": CONTEXT,
    "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0, "initializer_range": 0.15, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
CAPPED = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A model class, settings of its miniature, and the names of its parts."""

    family: str  # prefix of the transformers classes
    settings: dict
    blocks: str = "model.layers"
    down_projection: str = "mlp.down_proj"  # within a block
    attention_output: str = "self_attn.o_proj"
    final_norm: str = "model.norm"
    storage: type[nn.Module] = nn.Linear
    tokenizer: str = "llama"  # as in `small_models`: with a start token, or "gpt2", without
    model: str = "ForCausalLM"  # end of the class's name
    config: str = "Config"
    written: dict[str, str] = field(default_factory=dict)  # by site: the norm between it and the residual stream


GEMMA_NORMS = {"mlp_output": "post_feedforward_layernorm", "attention_output": "post_attention_layernorm"}
OPT = {
    "ffn_dim": INNER, "word_embed_proj_dim": WIDTH, "init_std": 0.15,
    **{name: value for name, value in OWN_NAMES.items() if name not in ("intermediate_size", "initializer_range")},
}  # fmt: skip
OPT_PARTS = {
    "blocks": "model.decoder.layers", "down_projection": "fc2", "attention_output": "self_attn.out_proj",
    "final_norm": "model.decoder.final_layer_norm", "tokenizer": "llama",
}  # fmt: skip
NEOX_PARTS = {
    "blocks": "gpt_neox.layers", "down_projection": "mlp.dense_4h_to_h", "attention_output": "attention.dense",
    "final_norm": "gpt_neox.final_layer_norm", "tokenizer": "gpt2",
}  # fmt: skip
GPT2_PARTS = {"blocks": "transformer.h", "final_norm": "transformer.ln_f", "tokenizer": "gpt2"}

ARCHITECTURES = {
    "gpt2": Architecture(
        "GPT2", GPT2_NAMES, down_projection="mlp.c_proj", attention_output="attn.c_proj", storage=Conv1D,
        model="LMHeadModel", **GPT2_PARTS,
    ),
    "gptj": Architecture(
        "GPTJ", GPT2_NAMES | {"rotary_dim": 4}, down_projection="mlp.fc_out", attention_output="attn.out_proj",
        **GPT2_PARTS,
    ),
    "pythia": Architecture("GPTNeoX", OWN_NAMES | {"use_parallel_residual": True, "hidden_dropout": 0.0}, **NEOX_PARTS),
    "gpt_neox_serial": Architecture("GPTNeoX", OWN_NAMES | {"use_parallel_residual": False}, **NEOX_PARTS),
    "opt": Architecture("OPT", OPT | NO_DROPOUT, **OPT_PARTS),
    "opt_untied": Architecture("OPT", OPT | NO_DROPOUT | {"tie_word_embeddings": False}, **OPT_PARTS),
    "llama2": Architecture("Llama", OWN_NAMES),
    "llama3": Architecture(
        "Llama", OWN_NAMES | GROUPED | {"tie_word_embeddings": True, "rope_parameters": LLAMA_3},
    ),
    "mistral": Architecture("Mistral", OWN_NAMES | GROUPED | {"sliding_window": WINDOW}),
    "qwen2": Architecture("Qwen2", OWN_NAMES | GROUPED | {"tie_word_embeddings": True}, tokenizer="gpt2"),
    "qwen2_sliding": Architecture(
        "Qwen2", OWN_NAMES | GROUPED | {"use_sliding_window": True, **SLIDING}, tokenizer="gpt2"
    ),
    "qwen3": Architecture("Qwen3", OWN_NAMES | GROUPED | {"head_dim": 16}, tokenizer="gpt2"),
    "gemma2": Architecture(
        "Gemma2", OWN_NAMES | GROUPED | SLIDING | CAPPED | {"head_dim": 16, "query_pre_attn_scalar": 16},
        written=GEMMA_NORMS,
    ),
    "gemma3": Architecture(
        "Gemma3", OWN_NAMES | GROUPED | SLIDING | {"head_dim": 16, "query_pre_attn_scalar": 16},
        config="TextConfig", written=GEMMA_NORMS,
    ),
    "phi3": Architecture("Phi3", OWN_NAMES | GROUPED | {"sliding_window": WINDOW}),
}  # fmt: skip


def configuration(name: str) -> transformers.PreTrainedConfig:
    """The miniature's configuration."""
    architecture = ARCHITECTURES[name]
    settings = architecture.settings | {"vocab_size": len(small_models.tokenizer(architecture.tokenizer))}
    return getattr(transformers, architecture.family + architecture.config)(**settings)


@torch.no_grad()
def model_of(name: str, seed: int = 0) -> transformers.PreTrainedModel:
    """A random model whose norms' gains and biases differ from channel to channel, so that leaving one out shows."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(seed)
    model = getattr(transformers, architecture.family + architecture.model)(configuration(name))
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def language_model_of(name: str, seed: int = 0) -> LanguageModel:
    """The random model, ready to be edited."""
    return language_model(model_of(name, seed), small_models.tokenizer(ARCHITECTURES[name].tokenizer))
