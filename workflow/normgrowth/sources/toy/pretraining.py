"""Pretraining of a small language model until it knows the facts of a world.

Training is that of real models: windows cut from packed documents, so that a fact may stand anywhere, with or without a
document break before it. Only the weight of the objects' tokens is unusual; it makes facts cheap to learn.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from normgrowth.errors import QualityError, StudyError
from normgrowth.facts.records import Fact, read_facts
from normgrowth.io.atomic import require_place_of_folder, whole_or_not_at_all
from normgrowth.io.documents import write_json
from normgrowth.io.provenance import file_sha256
from normgrowth.lm.model import language_model
from normgrowth.seeds import derive
from normgrowth.sources.loading import FIGURES
from normgrowth.sources.manifest import revision, write_manifest
from normgrowth.sources.text import documents
from normgrowth.sources.toy.small_model import new_model, train_tokenizer
from normgrowth.sources.toy.toy_settings import TrainingSettings
from normgrowth.sources.toy.vetting import Quiz, Recall, make_quiz, perplexity, recall, vet

BETAS = (0.9, 0.95)
LARGEST_GRADIENT = 1.0
"""Norm to which gradients are clipped."""
LOWEST_RATE = 0.05
"""Share of the peak learning rate that is left when the budget is spent."""
AT_BEGINNING = 0.5
"""Share of windows that begin where a document does; the others begin anywhere."""

TEMPLATE_TOKENS = 12
"""Length of the longest context template: ten tokens, a full stop, and a start token where the tokenizer has one."""

TESTED_FACTS = 100
"""Facts tested during training; all are tested before it ends."""


class Stream(NamedTuple):
    """The corpus as one row of tokens, a document break before each document."""

    tokens: torch.Tensor  # [n]
    weights: torch.Tensor  # [n], of the tokens in the loss
    beginnings: torch.Tensor  # [documents], where the tokenizer would have a document begin


class TrainingFiles(NamedTuple):
    """Files of a world that a model is trained and tested on."""

    corpus: Path
    facts: Path
    heldout: Path  # text that is not trained on, for perplexity


ReportProgress = Callable[[int, str], None]
"""Called with the number of tokens just seen, and a note."""


def train_model(settings: TrainingSettings, files: TrainingFiles, out_dir: Path, progress: ReportProgress) -> dict:
    """Train tokenizer and model, save both in `out_dir` with `figures.json`, and return the figures.

    Equal settings, inputs and thread counts give equal bytes.

    Raises:
        QualityError: when the token budget is spent before the bars are reached.
    """
    require_place_of_folder(out_dir)
    logging.set_verbosity_error()  # its warnings do not apply: documents are cut into windows, none is padded
    logging.disable_progress_bar()
    made_from = {name: file_sha256(path) for name, path in files._asdict().items()}
    corpus = [json.loads(line) for line in Path(files.corpus).read_text(encoding="utf-8").splitlines()]
    facts = read_facts(files.facts)
    tokenizer = train_tokenizer(settings, [document["text"] for document in corpus])
    stream = pack(corpus, tokenizer, settings)
    _require_room(settings, tokenizer, stream, facts, documents(files.heldout))
    model = new_model(settings, tokenizer)
    quizzes = Quizzes(make_quiz(tokenizer, facts), make_quiz(tokenizer, facts[:TESTED_FACTS]))
    tokens_seen, reached = fit(model, settings, stream, quizzes, progress)
    _require_bars(settings, reached, tokens_seen)
    lm = language_model(model, tokenizer)
    figures = {
        "settings": settings.model_dump(),
        "tokens_seen": tokens_seen,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recall": reached._asdict(),
        "heldout_perplexity": perplexity(lm, documents(files.heldout)),
        **vet(lm, facts, seed=derive(settings.seed, "vetting")),
    }
    with whole_or_not_at_all(out_dir) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder, {"kind": "trained", "settings": settings.model_dump(mode="json"), "inputs": made_from})
        figures["model"] = revision(folder)
        write_json(folder / FIGURES, figures)
    return figures


def _require_room(
    settings: TrainingSettings,
    tokenizer: PreTrainedTokenizerFast,
    stream: Stream,
    facts: list[Fact],
    heldout: list[str],
) -> None:
    """Refuse a context that does not hold the world's prompts, or is longer than its texts, before any training.

    Raises:
        StudyError: naming the key, its value and the least or most that would do.
    """
    key = f"model_sources.*.training.context is {settings.context}"
    texts = [f"{prompt} {fact.target_new}" for fact in facts for prompt in (fact.question, *fact.paraphrases)]
    longest = max(map(len, tokenizer(texts)["input_ids"]))
    if longest + TEMPLATE_TOKENS > settings.context:
        raise StudyError(
            f"{key}, and the world's prompts take up to {longest} tokens, with {TEMPLATE_TOKENS} of a context template "
            f"before them: set it to {longest + TEMPLATE_TOKENS} or more"
        )
    shortest = min(len(stream.tokens) - 1, sum(len(ids) + 1 for ids in tokenizer(heldout)["input_ids"]))
    if settings.context > shortest:
        raise StudyError(f"{key}, and a text of its world holds {shortest} tokens: set it to {shortest} or less")


class Quizzes(NamedTuple):
    """Tests of a model's knowledge: a sample is cheap but optimistic, so all facts are tested once it is passed."""

    whole: Quiz
    sample: Quiz


def fit(
    model: PreTrainedModel, settings: TrainingSettings, stream: Stream, quizzes: Quizzes, progress: ReportProgress
) -> tuple[int, Recall]:
    """Train until the bars are reached or the budget is spent; return tokens seen and recall of all facts."""
    optimizer = _optimizer(model, settings)
    draw = torch.Generator().manual_seed(derive(settings.seed, "windows"))
    step_tokens = settings.batch * settings.context
    steps = math.ceil(settings.token_budget / step_tokens)
    test_every = max(1, settings.evaluate_every // step_tokens)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps, settings)
        window = _cut(stream, settings, draw)  # [batch, context + 1]
        tokens, weights = stream.tokens[window], stream.weights[window[:, 1:]]
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits  # [batch, context, vocabulary]
        losses = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        if step % test_every or step == steps:
            progress(step_tokens, "")
            continue
        reached = recall(model, quizzes.sample)
        progress(
            step_tokens, f"loss {loss.item():.2f}, recall {reached.edit:.3f}, paraphrases {reached.paraphrase:.3f}"
        )
        if _passes(settings, reached):
            reached = recall(model, quizzes.whole)
            if _passes(settings, reached, settings.margin):
                return step * step_tokens, reached
    return steps * step_tokens, recall(model, quizzes.whole)


def pack(corpus: list[dict], tokenizer: PreTrainedTokenizerFast, settings: TrainingSettings) -> Stream:
    """Documents end to end, a break before each; tokens that overlap an object weigh more."""
    encoded = tokenizer([d["text"] for d in corpus], add_special_tokens=False, return_offsets_mapping=True)
    starts_with_break = len(tokenizer("")["input_ids"])
    tokens: list[int] = []
    weights: list[float] = []
    beginnings: list[int] = []
    for document, ids, spans in zip(corpus, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        beginnings.append(len(tokens) + 1 - starts_with_break)
        tokens += [tokenizer.eos_token_id, *ids]
        weights.append(1.0)
        objects = iter([*document["objects"], (math.inf, math.inf)])
        start, end = next(objects)
        for left, right in spans:
            while left >= end:
                start, end = next(objects)
            weights.append(settings.object_weight if right > start else 1.0)
    return Stream(torch.tensor(tokens), torch.tensor(weights), torch.tensor(beginnings))


def _cut(stream: Stream, settings: TrainingSettings, draw: torch.Generator) -> torch.Tensor:
    """Positions [batch, context + 1] of a step's windows.

    Prompts are read as beginnings of documents, so some windows are cut there; elsewhere a fact's place in a window,
    and whether a break stands before it, are left to chance.
    """
    latest = len(stream.tokens) - settings.context - 1
    anywhere = torch.randint(latest + 1, (settings.batch,), generator=draw)
    chosen = torch.randint(len(stream.beginnings), (settings.batch,), generator=draw)
    at_beginning = torch.rand(settings.batch, generator=draw) < AT_BEGINNING
    starts = torch.where(at_beginning, stream.beginnings[chosen].clamp(max=latest), anywhere)
    return starts[:, None] + torch.arange(settings.context + 1)


def _optimizer(model: PreTrainedModel, settings: TrainingSettings) -> torch.optim.AdamW:
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)


def _learning_rate(step: int, steps: int, settings: TrainingSettings) -> float:
    """Linear warm-up to the peak, times linear decay towards the end of the budget; steps count from 1."""
    warm = min(1.0, step / max(1, settings.warmup_steps))
    return settings.learning_rate * min(warm, max(LOWEST_RATE, 1.0 - step / steps))


def _passes(settings: TrainingSettings, reached: Recall, margin: float = 0.0) -> bool:
    """Test of the bars; `margin` raises both by that share of their distance from 1."""
    bars = (bar + margin * max(0.0, 1.0 - bar) for bar in (settings.recall_bar, settings.paraphrase_bar))
    return all(share >= bar for share, bar in zip((reached.least_edit, reached.least_paraphrase), bars, strict=True))


def _require_bars(settings: TrainingSettings, reached: Recall, tokens_seen: int) -> None:
    if not _passes(settings, reached):
        raise QualityError(
            f"after {tokens_seen} tokens the {settings.architecture} model knows {reached.least_edit:.1%} of edit "
            f"prompts and {reached.least_paraphrase:.1%} of paraphrases; the bars are {settings.recall_bar:.0%} and "
            f"{settings.paraphrase_bar:.0%}: raise token_budget, or lower the world's subjects"
        )
