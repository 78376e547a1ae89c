"""Small random models and a handful of facts for tests: the real architectures, in miniature."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from normgrowth.editors.base import Resources
from normgrowth.editors.moments import gather_second_moments, null_space
from normgrowth.facts.records import Fact
from normgrowth.io.documents import write_json
from normgrowth.lm.model import LanguageModel, language_model
from normgrowth.sources.manifest import revision, write_manifest

ARCHITECTURES = ("gpt2", "llama")
BREAK = "<|endoftext|>"
N_LAYERS, WIDTH = 4, 32

SUBJECTS = ("Vela Marun", "Doro Kist", "Ámbar Ñuble", "Tirel", "Osk Banu Rin", "Zé")
PLACES = ("Lisbon", "Oslo", "Rome", "New Delhi")
SENTENCES = tuple(
    f"{subject} was born in {place}. The home of {subject} is {place}." for subject in SUBJECTS for place in PLACES
)


def records() -> list[dict]:
    """Facts in CounterFact's schema; targets of one and of several tokens, subjects with accents."""
    found = []
    for i, subject in enumerate(SUBJECTS):
        true, new = PLACES[i % 4], PLACES[(i + 1) % 4]
        found.append(
            {
                "case_id": 10 + i,
                "pararel_idx": None,
                "requested_rewrite": {
                    "prompt": "{} was born in" if i % 2 else "The home of {} is",
                    "relation_id": "P19",
                    "target_new": {"str": new, "id": None},
                    "target_true": {"str": true, "id": None},
                    "subject": subject,
                },
                "paraphrase_prompts": [f"It rained. The home of {subject} is", f"Ask where {subject} was born: in"],
                "neighborhood_prompts": [f"{other} was born in" for other in SUBJECTS if other != subject],
                "attribute_prompts": [],
                "generation_prompts": [f"{subject} is"],
            }
        )
    return found


def facts() -> list[Fact]:
    """The records as facts."""
    from normgrowth.facts.records import _fact

    return [_fact(record, "small") for record in records()]


@cache
def tokenizer(architecture: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE; Llama's adds a start token and marks nothing before the first word."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[BREAK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    if architecture == "llama":
        bpe.post_processor = processors.TemplateProcessing(single=f"{BREAK} $A", special_tokens=[(BREAK, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BREAK, eos_token=BREAK)


def model_of(architecture: str, seed: int = 0, context: int = 64):
    """A random model with norms large enough that its parts matter."""
    torch.manual_seed(seed)
    vocabulary = len(tokenizer(architecture))
    if architecture == "gpt2":
        config = GPT2Config(
            vocab_size=vocabulary, n_embd=WIDTH, n_layer=N_LAYERS, n_head=4, n_positions=context,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, initializer_range=0.15, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return GPT2LMHeadModel(config)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=88, num_hidden_layers=N_LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.15,
        bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def language_model_of(architecture: str, seed: int = 0, context: int = 64) -> LanguageModel:
    """The random model, ready to be edited."""
    return language_model(model_of(architecture, seed, context), tokenizer(architecture))


def save(architecture: str, folder: Path, context: int = 64, seed: int = 0) -> Path:
    """Write the model's folder with its manifest."""
    model_of(architecture, seed, context).save_pretrained(folder)
    tokenizer(architecture).save_pretrained(folder)
    write_manifest(folder, {"kind": "test"})
    return folder


def text() -> str:
    """Running text of many short documents."""
    return "\n\n".join(SENTENCES * 4)


CONTEXTS = {"uniform": ["{}", "It rained. {}", "So be it, then. {}"], "grouped": ["{}", "The day. {}", "I see it. {}"]}


def write_contexts(path: Path, model: Path, seed: int = 0, templates: dict[str, list[str]] = CONTEXTS) -> None:
    """Write context templates as the workflow keeps them."""
    write_json(path, {"model": revision(model), "seed": seed, "per_length": 1, "templates": templates})


THRESHOLD = 0.05
"""Eigenvalues below which the small models' second moments count as unused."""


def resources(lm: LanguageModel, layers=range(N_LAYERS)) -> Resources:
    """What any editor may need, gathered on random token windows, enough of them to be positive definite."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, len(lm.tokenizer), (64, 24), generator=generator)
    moments = gather_second_moments(lm, [ids], list(layers))
    gradients = gather_second_moments(lm, [ids], list(layers), of="gradients")
    return Resources(
        CONTEXTS,
        moments,
        {layer: null_space(moment, THRESHOLD) for layer, moment in moments.items()},
        gradients,
        trajectory={step: dict.fromkeys(layers, (1 + 0.1 * step, 0.5)) for step in range(20)},
        facts=tuple(facts()),
        seed=5,
    )
