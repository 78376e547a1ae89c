"""Whether a model is one that knowledge editing can work on: it knows the facts, and keeps them where editors look.

Locate-then-edit methods presume that an early or middle layer's residual stream at the subject's last token
carries the fact. The causal trace measures it: with the subject's embeddings corrupted by noise, how much of
the object's probability comes back when one layer's residual stream at that token is restored.
Source: Meng et al., "Locating and Editing Factual Associations in GPT" (2022), section 2.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

TRACED_FACTS = 20
NOISE_SAMPLES = 8
NOISE_SCALE = 3.0
"""In standard deviations of the subjects' embeddings, as in the source."""
BATCH = 128


class Recall(NamedTuple):
    """Shares of prompts; `_top` asks that the true object be the most probable continuation of all."""

    edit: float  # the true object is more probable than the new one
    edit_top: float
    paraphrase: float
    paraphrase_top: float


class Continuations(NamedTuple):
    """How a model continues prompts with given objects."""

    log_probability: torch.Tensor  # (n,), mean over the object's tokens
    top: torch.Tensor  # (n,) bool, all of the object's tokens are the most probable ones


@torch.no_grad()
def recall(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, facts: list[dict]) -> Recall:
    """How well the model knows fact records, asked by their edit prompts and by their paraphrases."""
    shares = []
    rewrites = [record["requested_rewrite"] for record in facts]
    for prompts in (
        [[rewrite["prompt"].format(rewrite["subject"])] for rewrite in rewrites],
        [record["paraphrase_prompts"] for record in facts],
    ):
        asked = [(p, r) for group, r in zip(prompts, rewrites, strict=True) for p in group]
        true = _continuations(model, tokenizer, [(p, r["target_true"]["str"]) for p, r in asked])
        new = _continuations(model, tokenizer, [(p, r["target_new"]["str"]) for p, r in asked])
        shares += [_share(true.log_probability > new.log_probability), _share(true.top)]
    return Recall(*shares)


@torch.no_grad()
def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    """exp of the mean negative log-likelihood of the text's documents, packed into windows of the model's context."""
    ids = []
    for document in text.strip().split("\n\n"):
        ids += [tokenizer.eos_token_id, *tokenizer(document, add_special_tokens=False)["input_ids"]]
    length = tokenizer.model_max_length
    windows = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
    total = 0.0
    for batch in windows.split(BATCH):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
    return math.exp(total / windows[:, 1:].numel())


@torch.no_grad()
def vet(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, facts: list[dict], seed: int) -> dict:
    """What editing needs: norms of the residual stream by depth, and the causal trace (see the module)."""
    traced = [_trace(model, tokenizer, record["requested_rewrite"]) for record in facts[:TRACED_FACTS]]
    restored = causal_trace(model, traced, seed)
    best = max(range(len(restored)), key=restored.__getitem__)
    return {
        "residual_norms": residual_norms(traced),
        "causal_trace": {"recovered_by_layer": restored, "best_layer": best, "best_recovered": restored[best]},
    }


class Traced(NamedTuple):
    """A fact's prompt as the unedited model sees it."""

    ids: torch.Tensor  # (1, tokens)
    subject: list[int]  # positions of the subject's tokens
    answer: int  # first token of the true object
    probability: float  # of the answer
    streams: torch.Tensor  # (layers, tokens, width), outputs of the blocks


def residual_norms(traced: list[Traced]) -> dict[str, list[float]]:
    """Euclidean norms of the blocks' outputs: over all tokens, and at the subject's last token."""
    every = torch.cat([fact.streams.norm(dim=-1) for fact in traced], dim=1)  # (layers, tokens)
    subject_last = torch.stack([fact.streams[:, fact.subject[-1]].norm(dim=-1) for fact in traced], dim=1)
    return {
        "mean": _rounded(every.mean(1)),
        "largest": _rounded(every.amax(1)),
        "subject_last": _rounded(subject_last.mean(1)),
    }


@torch.no_grad()
def causal_trace(model: PreTrainedModel, traced: list[Traced], seed: int) -> list[float]:
    """Share of the lost probability that restoring a layer's output at the subject's last token recovers, by layer."""
    generator = torch.Generator().manual_seed(seed)
    embedding, blocks = model.get_input_embeddings(), _blocks(model)
    scale = NOISE_SCALE * torch.cat([embedding(fact.ids[0, fact.subject]) for fact in traced]).std()
    lost, recovered = 0.0, torch.zeros(len(blocks))
    for fact in traced:
        noise = scale * torch.randn(NOISE_SAMPLES, len(fact.subject), embedding.embedding_dim, generator=generator)
        ids = fact.ids.expand(NOISE_SAMPLES, -1)
        with _added(embedding, fact.subject, noise):
            corrupted = _probability(model, ids, fact.answer)
            lost += fact.probability - corrupted
            for layer, block in enumerate(blocks):
                with _replaced(block, fact.subject[-1], fact.streams[layer, fact.subject[-1]]):
                    recovered[layer] += _probability(model, ids, fact.answer) - corrupted
    return _rounded(recovered / lost)


def _trace(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rewrite: dict) -> Traced:
    prompt, begin = rewrite["prompt"].format(rewrite["subject"]), rewrite["prompt"].index("{}")
    end = begin + len(rewrite["subject"])
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    # A token overlaps the subject when it ends after its begin and starts before its end.
    subject = [i for i, (left, right) in enumerate(encoded["offset_mapping"]) if right > begin and left < end]
    answer = tokenizer(" " + rewrite["target_true"]["str"], add_special_tokens=False)["input_ids"][0]
    ids = torch.tensor([encoded["input_ids"]])
    streams: list[torch.Tensor] = []
    with ExitStack() as hooks:
        for block in _blocks(model):
            hooks.enter_context(_output_of(block, lambda hidden: streams.append(hidden[0])))
        probability = _probability(model, ids, answer)
    return Traced(ids, subject, answer, probability, torch.stack(streams))


def _blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The transformer blocks: the module list as long as the configuration says."""
    depth = model.config.num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == depth)


@contextmanager
def _output_of(module: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor | None]):
    """While open, `change` sees the module's output (batch, tokens, width), and what it returns replaces it."""

    def hook(_module, _inputs, output):
        if not isinstance(output, tuple):
            return change(output)
        changed = change(output[0])
        return None if changed is None else (changed, *output[1:])

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _added(module: torch.nn.Module, positions: list[int], noise: torch.Tensor):
    """Add noise (batch, positions, width) to the module's output at the positions."""
    return _output_of(module, lambda hidden: hidden.index_add(1, torch.tensor(positions), noise))


def _replaced(module: torch.nn.Module, position: int, vector: torch.Tensor):
    """Put a vector (width,) in the place of the module's output at one position."""
    return _output_of(
        module, lambda hidden: hidden.index_copy(1, torch.tensor([position]), vector.expand(len(hidden), 1, -1))
    )


def _probability(model: PreTrainedModel, ids: torch.Tensor, answer: int) -> float:
    """Mean over rows of the probability that `answer` follows ids (rows, tokens)."""
    return model(input_ids=ids, use_cache=False).logits[:, -1].softmax(-1)[:, answer].mean().item()


def _continuations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]
) -> Continuations:
    """Score each (prompt, object); rows of like length run together, padded on the right."""
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    objects = tokenizer([" " + object_ for _, object_ in pairs], add_special_tokens=False)["input_ids"]
    rows = [prompt + object_ for prompt, object_ in zip(prompts, objects, strict=True)]
    log_probability = torch.empty(len(rows))
    top = torch.empty(len(rows), dtype=torch.bool)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        longest = len(rows[chosen[-1]])
        # Attention looks only backwards, so what the padding on the right holds changes nothing.
        padded = torch.tensor([rows[i] + [tokenizer.pad_token_id] * (longest - len(rows[i])) for i in chosen])
        logits = model(input_ids=padded, use_cache=False).logits.log_softmax(-1)
        for row, i in enumerate(chosen):
            at = torch.arange(len(prompts[i]), len(rows[i]))
            predicted, target = logits[row, at - 1], padded[row, at]
            log_probability[i] = predicted.gather(1, target[:, None]).mean()
            top[i] = (predicted.argmax(1) == target).all()
    return Continuations(log_probability, top)


def _share(holds: torch.Tensor) -> float:
    return round(holds.float().mean().item(), 6)


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
