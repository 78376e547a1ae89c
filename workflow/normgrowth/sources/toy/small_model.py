"""New small language models with tokenizers of their own: the architectures of GPT-2, Llama, GLM and GLM-4."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Glm4Config,
    Glm4ForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from normgrowth.lm.anatomy import anatomy_of
from normgrowth.seeds import derive
from normgrowth.sources.toy.toy_settings import TrainingSettings

BREAK = "<|endoftext|>"


def train_tokenizer(settings: TrainingSettings, texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE; but for GPT-2's architecture it begins every text with the document break, as Llama's does."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        special_tokens=[BREAK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if settings.architecture != "gpt2":
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{BREAK} $A", pair=f"{BREAK} $A $B", special_tokens=[(BREAK, bpe.token_to_id(BREAK))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BREAK,
        eos_token=BREAK,
        pad_token=BREAK,
        model_max_length=settings.context,
        clean_up_tokenization_spaces=False,
    )


def new_model(settings: TrainingSettings, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model of the wanted architecture with seeded initial weights, tied embeddings and no dropout."""
    torch.manual_seed(derive(settings.seed, "weights"))
    shared = {
        "vocab_size": len(tokenizer),
        # The usual 0.02 suits widths of thousands; here it would cost a third of the training to grow out of.
        "initializer_range": settings.width**-0.5,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id),
    }
    if settings.architecture == "gpt2":
        gpt2 = GPT2Config(
            n_positions=settings.context,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            activation_function="gelu_pytorch_tanh",  # GPT-2's, in one operation
            **shared,
        )
        return GPT2LMHeadModel(gpt2)
    shared |= {
        "max_position_embeddings": settings.context,
        "hidden_size": settings.width,
        # Three matrices instead of two: this width gives the blocks as many weights as GPT-2's.
        "intermediate_size": 8 * settings.width // 3 // 8 * 8,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.heads,
        "tie_word_embeddings": True,
    }
    if settings.architecture == "llama":
        model: PreTrainedModel = LlamaForCausalLM(LlamaConfig(**shared))
    else:
        shared |= {"head_dim": settings.width // settings.heads, "attention_bias": False}
        plain = settings.architecture == "glm"
        model = GlmForCausalLM(GlmConfig(**shared)) if plain else Glm4ForCausalLM(Glm4Config(**shared))
    # What writes to the residual stream begins smaller the deeper the model is. transformers does so for GPT-2 only;
    # without it the stream outgrows the offsets that published settings of target searches can reach.
    normed = settings.architecture == "glm4"  # there a norm's gain decides how much is written
    writers = ("post_self_attn_layernorm", "post_mlp_layernorm") if normed else ("self_attn.o_proj", "mlp.down_proj")
    with torch.no_grad():
        for block in anatomy_of(model).blocks:
            for writer in writers:
                block.get_parameter(f"{writer}.weight").mul_((2 * settings.layers) ** -0.5)
    return model
