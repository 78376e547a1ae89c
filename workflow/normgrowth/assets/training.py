"""Training a small language model until it knows the facts of a world.

The model is trained as real ones are: windows cut at random from packed documents, so that a fact stands
anywhere, with and without a document break before it. Only the weight of the objects' tokens is unusual;
it makes facts cheap to learn.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from normgrowth.artefacts.atomic import whole_or_not_at_all, write_json
from normgrowth.assets.models import write_manifest
from normgrowth.assets.settings import TrainingSettings
from normgrowth.assets.vetting import Recall, perplexity, recall, vet
from normgrowth.errors import QualityError
from normgrowth.seeds import derive

BREAK = "<|endoftext|>"
BETAS = (0.9, 0.95)
LARGEST_GRADIENT = 1.0
SAMPLE = 240
"""Facts tested while training; all of them are at its end."""


class Stream(NamedTuple):
    """The corpus as one row of tokens."""

    tokens: torch.Tensor  # (n,)
    weights: torch.Tensor  # (n,), of the tokens in the loss


def train_model(
    settings: TrainingSettings,
    corpus_path: Path,
    facts_path: Path,
    heldout_path: Path,
    out_dir: Path,
    progress: Callable[[int, str], None],
) -> dict:
    """Train tokenizer and model, save both in `out_dir` with `figures.json`, and return the figures.

    `progress` is called with the number of tokens just seen and a note. Equal settings, inputs and thread
    counts give equal bytes.

    Raises:
        QualityError: when the token budget is spent before the bars are reached.
    """
    documents = [json.loads(line) for line in Path(corpus_path).read_text(encoding="utf-8").splitlines()]
    facts = json.loads(Path(facts_path).read_text(encoding="utf-8"))
    tokenizer = train_tokenizer(settings, [document["text"] for document in documents])
    model = new_model(settings, tokenizer)
    tokens_seen = _fit(model, tokenizer, settings, _stream(documents, tokenizer, settings), facts, progress)

    reached = recall(model, tokenizer, facts)
    _require(settings, reached, tokens_seen)
    figures = {
        "settings": settings.model_dump(),
        "tokens_seen": tokens_seen,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recall": reached._asdict(),
        "heldout_perplexity": perplexity(model, tokenizer, Path(heldout_path).read_text(encoding="utf-8")),
        **vet(model, tokenizer, facts, seed=derive(settings.seed, "vetting")),
    }
    with whole_or_not_at_all(out_dir) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_json(folder / "figures.json", figures)
        write_manifest(folder, {"kind": "trained", "settings": settings.model_dump(mode="json")})
    return figures


def train_tokenizer(settings: TrainingSettings, texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE; for the Llama architecture it begins every text with the document break, as Llama's does."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=settings.vocabulary,
            special_tokens=[BREAK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if settings.architecture == "llama":
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
    """A model of the wanted architecture with seeded initial weights and no dropout."""
    torch.manual_seed(derive(settings.seed, "weights"))
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    if settings.architecture == "gpt2":
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=settings.context,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            initializer_range=0.02,
            **special,
        )
        return GPT2LMHeadModel(config)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=settings.context,
        hidden_size=settings.width,
        # Three matrices instead of two: this width gives the blocks as many weights as GPT-2's.
        intermediate_size=8 * settings.width // 3 // 8 * 8,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        tie_word_embeddings=True,
        initializer_range=0.02,
        **special,
    )
    return LlamaForCausalLM(config)


def _fit(model, tokenizer, settings, stream, facts, progress) -> int:
    """Train until the bars are reached or the budget is spent; return the number of tokens seen."""
    optimizer = _optimizer(model, settings)
    draw = torch.Generator().manual_seed(derive(settings.seed, "windows"))
    within = torch.arange(settings.window + 1)
    step_tokens = settings.batch * settings.window
    steps = math.ceil(settings.token_budget / step_tokens)
    evaluate_every = max(1, round(settings.evaluate_every / step_tokens))
    sample = facts[:SAMPLE]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps, settings)
        starts = torch.randint(len(stream.tokens) - settings.window, (settings.batch, 1), generator=draw)
        window = stream.tokens[starts + within]  # (batch, window + 1)
        weight = stream.weights[starts + within][:, 1:].flatten()
        logits = model(input_ids=window[:, :-1], use_cache=False).logits  # (batch, window, vocabulary)
        losses = cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten(), reduction="none")
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        note = ""
        if (step + 1) % evaluate_every == 0:
            reached = recall(model, tokenizer, sample)
            note = f"loss {loss.item():.2f}, recall {reached.edit:.3f}, paraphrases {reached.paraphrase:.3f}"
            if _passes(settings, reached, margin=0.5) and _passes(settings, recall(model, tokenizer, facts)):
                progress(step_tokens, note)
                return (step + 1) * step_tokens
        progress(step_tokens, note)
    return steps * step_tokens


def _optimizer(model: PreTrainedModel, settings: TrainingSettings) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)


def _learning_rate(step: int, steps: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then linear decay to a twentieth of the peak at the end of the budget."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * min(warm, max(0.05, 1.0 - step / steps))


def _stream(documents: list[dict], tokenizer: PreTrainedTokenizerFast, settings: TrainingSettings) -> Stream:
    """Documents end to end, a break before each; tokens that overlap an object weigh more."""
    encoded = tokenizer([d["text"] for d in documents], add_special_tokens=False, return_offsets_mapping=True)
    tokens, weights = [], []
    for document, ids, offsets in zip(documents, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        tokens += [tokenizer.eos_token_id, *ids]
        weights.append(1.0)
        spans = iter([*document["objects"], (math.inf, math.inf)])
        start, end = next(spans)
        for left, right in offsets:
            while left >= end:
                start, end = next(spans)
            weights.append(settings.object_weight if right > start else 1.0)
    return Stream(torch.tensor(tokens), torch.tensor(weights))


def _passes(settings: TrainingSettings, reached: Recall, margin: float = 0.0) -> bool:
    """Whether the bars hold; `margin` asks for that share of the distance from each bar to 1 on top."""
    edit = settings.recall_bar + margin * (1 - settings.recall_bar)
    paraphrase = settings.paraphrase_bar + margin * (1 - settings.paraphrase_bar)
    return min(reached.edit, reached.edit_top) >= edit and min(reached.paraphrase, reached.paraphrase_top) >= paraphrase


def _require(settings: TrainingSettings, reached: Recall, tokens_seen: int) -> None:
    if not _passes(settings, reached):
        raise QualityError(
            f"after {tokens_seen} tokens the {settings.architecture} model knows {reached.edit_top:.1%} of edit "
            f"prompts and {reached.paraphrase_top:.1%} of paraphrases; the bars are {settings.recall_bar:.0%} and "
            f"{settings.paraphrase_bar:.0%}: raise token_budget (now {settings.token_budget}), or make the world smaller"
        )
