"""Editing and scoring as published code does it: one fact at a time, whole prompts, every layer, every logit.

It says what the library computes in the plainest way there is. Tests hold the library to it, and `benchmarks/speed.py`
times one beside the other. With the library it shares the reading of models, facts and settings, and how a prompt and
its object are written as one text. How text becomes tokens, where subjects and objects stand among them, which modules
are read and how activations are changed is its own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.search import Relaxation
from normgrowth.editors.memit import Settings as MemitSettings
from normgrowth.editors.r_rome import Settings as RRomeSettings
from normgrowth.editors.settings import SearchSettings
from normgrowth.facts.orthography import joined
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel

NAMES = {
    "gpt2": {
        "residual": "transformer.h.{}",
        "mlp": "transformer.h.{}.mlp.c_proj",
        "attention": "transformer.h.{}.attn.c_proj",
    },
    "llama": {
        "residual": "model.layers.{}",
        "mlp": "model.layers.{}.mlp.down_proj",
        "attention": "model.layers.{}.self_attn.o_proj",
    },
}
"""Modules by model type: a block, its MLP's down-projection, its attention's output projection."""

Place = tuple[int, str]
"""Layer and site: residual, mlp_output, attention_output or mlp_key."""


class Prompt(NamedTuple):
    """Tokens of a prompt with its object, or of a text without one."""

    ids: list[int]
    subject_last: int  # position of the subject's last token
    target_at: int  # position of the object's first token; the number of tokens where there is no object


class _Enough(Exception):
    """Raised by a hook when no layer above it is needed."""


def tokens_of(lm: LanguageModel, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text and the characters that each covers, up to the last token that covers any."""
    encoding = lm.tokenizer(text, return_offsets_mapping=True)
    ids, spans = encoding["input_ids"], encoding["offset_mapping"]
    length = max(i for i, (start, end) in enumerate(spans) if start < end) + 1
    return ids[:length], spans[:length]


def with_object(lm: LanguageModel, prompt: str, target: str) -> tuple[list[int], int]:
    """Token ids of a prompt with its object, and the position of the first token that reaches past the prompt."""
    text = joined(prompt, target)
    begin = len(text) - len(target.lstrip())
    prompt_end = begin - 1 if text[begin - 1] == " " else begin
    ids, spans = tokens_of(lm, text)
    return ids, next(i for i, (_, end) in enumerate(spans) if end > prompt_end)


def in_context(context: str, fact: Fact) -> tuple[str, int]:
    """The question in the place of a context's {}, and the number of characters up to the subject's end."""
    before, after = context.split("{}", 1)
    leading = len(fact.question) - len(fact.question.lstrip()) if before.endswith(" ") else 0
    return before + fact.question[leading:] + after, len(before) + fact.subject_span[1] - leading


def last_before(spans: Sequence[tuple[int, int]], end: int) -> int:
    """Position of the last token that begins before a character."""
    return max(i for i, (first, past) in enumerate(spans) if first < past and first < end)


def prompts_of(lm: LanguageModel, fact: Fact, contexts: list[str]) -> list[Prompt]:
    """The question in each context with the new object, then "<subject> is a"."""
    prompts = []
    for context in contexts:
        text, subject_end = in_context(context, fact)
        ids, target_at = with_object(lm, text, fact.target_new)
        _, spans = tokens_of(lm, joined(text, fact.target_new))
        prompts.append(Prompt(ids, last_before(spans, subject_end), target_at))
    ids, spans = tokens_of(lm, f"{fact.subject} is a")
    return [*prompts, Prompt(ids, last_before(spans, len(fact.subject)), len(ids))]


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask [rows, longest], filled up on the right."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)


def module_at(lm: LanguageModel, place: Place) -> nn.Module:
    """The module whose output, or for `mlp_key` whose input, is the activation at a place."""
    layer, site = place
    return lm.model.get_submodule(NAMES[lm.model.config.model_type][site.split("_")[0]].format(layer))


def down_projection(lm: LanguageModel, layer: int) -> torch.Tensor:
    """The matrix of an MLP's down-projection [outputs, inputs], sharing the parameter's memory."""
    weight = module_at(lm, (layer, "mlp_output")).weight.detach()
    return weight.T if lm.model.config.model_type == "gpt2" else weight


@contextmanager
def hooked(lm: LanguageModel, place: Place, function: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    """Call a function with the activation [rows, tokens, width] at a place; a tensor that it returns replaces it."""

    def on_input(_module: nn.Module, inputs: tuple) -> None:
        function(inputs[0])

    def on_output(_module: nn.Module, _inputs: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple | None:
        if not isinstance(output, tuple):
            return function(output)
        changed = function(output[0])
        return None if changed is None else (changed, *output[1:])

    module = module_at(lm, place)
    handle = (
        module.register_forward_pre_hook(on_input) if place[1] == "mlp_key" else module.register_forward_hook(on_output)
    )
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def activations(
    lm: LanguageModel, places: list[Place], ids: torch.Tensor, mask: torch.Tensor | None = None
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Activations [rows, tokens, width] at each place, and the logits [rows, tokens, vocabulary]."""
    seen: dict[Place, torch.Tensor] = {}
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(hooked(lm, place, lambda values, place=place: seen.update({place: values.clone()})))
        logits = lm.model(input_ids=ids, attention_mask=mask).logits
    return [seen[place] for place in places], logits


def search(
    lm: LanguageModel,
    fact: Fact,
    contexts: list[str],
    places: list[Place],
    settings: SearchSettings,
    relaxation: Relaxation | None = None,
) -> tuple[torch.Tensor, int]:
    """Target [o] of one fact at the last of `places`, and the steps taken (ROME, arXiv 2202.05262, eq. 4).

    Each step runs the model on all prompts of the fact, from the first token to the logits of the last. With a
    relaxation, the likelihood counts less in a step after one in which the object has won (PMET, arXiv 2308.08742).
    """
    prompts = prompts_of(lm, fact, contexts)
    ids, mask = padded([prompt.ids for prompt in prompts])
    rows = torch.arange(len(prompts))
    subject = torch.tensor([prompt.subject_last for prompt in prompts])
    essence = len(prompts) - 1
    before, logits = activations(lm, places, ids, mask)
    starts = [values[0, subject[0]] for values in before]
    unchanged = logits[essence, subject[essence]].log_softmax(dim=-1)
    offsets = [torch.zeros_like(start, requires_grad=True) for start in starts]
    adam = torch.optim.Adam(offsets, lr=settings.learning_rate)

    def adding(offset: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        def add(activation: torch.Tensor) -> torch.Tensor:
            changed = activation.clone()
            changed[rows, subject] += offset
            return changed

        return add

    steps = wins = 0
    factor = 1.0
    for step in range(1, settings.steps + 1):
        with ExitStack() as stack:
            for place, offset in zip(places, offsets, strict=True):
                stack.enter_context(hooked(lm, place, adding(offset)))
            logits = lm.model(input_ids=ids, attention_mask=mask).logits
        predicted = logits.log_softmax(dim=-1)
        likelihoods, won = zip(
            *(_of_target(prompt, predicted[row]) for row, prompt in enumerate(prompts[:-1])), strict=True
        )
        now = predicted[essence, subject[essence]]
        divergence = settings.kl_factor * (now.exp() * (now - unchanged)).sum()
        loss = -factor * torch.stack(likelihoods).mean() + divergence
        for offset, start in zip(offsets, starts, strict=True):
            loss = loss + settings.weight_decay * offset.norm() / start.norm() ** 2
        wins += all(won[1:] or won)
        ended = settings.most_probable_stop and wins >= settings.most_probable_stop
        if relaxation:
            factor = relaxation.likelihood_factor if all(won) else 1.0
            ended = ended or (all(won) and divergence.item() <= relaxation.divergence_stop)
        if step == settings.steps or loss.item() < settings.stop_loss or ended:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for offset, start in zip(offsets, starts, strict=True):
                longest = settings.clamp * start.norm()
                if offset.norm() > longest:
                    offset.mul_(longest / offset.norm())
        steps = step
    return starts[-1] + offsets[-1].detach(), steps


def _of_target(prompt: Prompt, predicted: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Mean log-probability of a prompt's target, and whether each of its tokens is the most probable one."""
    tokens = torch.tensor(prompt.ids[prompt.target_at :])
    at = predicted[prompt.target_at - 1 : len(prompt.ids) - 1]
    return at[torch.arange(len(tokens)), tokens].mean(), bool((at.argmax(dim=-1) == tokens).all())


@torch.no_grad()
def at_subject(lm: LanguageModel, fact: Fact, contexts: list[str], place: Place) -> torch.Tensor:
    """Activations [contexts, width] at the subject's last token."""
    rows, subject = [], []
    for context in contexts:
        text, subject_end = in_context(context, fact)
        ids, spans = tokens_of(lm, text)
        rows.append(ids)
        subject.append(last_before(spans, subject_end))
    (values,), _ = activations(lm, [place], *padded(rows))
    return values[torch.arange(len(rows)), torch.tensor(subject)]


def memit(lm: LanguageModel, resources: Resources, settings: MemitSettings, facts: list[Fact]) -> None:
    """Write a batch by MEMIT (arXiv 2210.07229, eq. 14): Δ = R Kᵀ (λ C + K Kᵀ)⁻¹ at one layer after another."""
    contexts, top = resources.contexts["grouped"], (settings.layers[-1], "residual")
    targets = [search(lm, fact, contexts, [top], settings)[0] for fact in facts]
    for index, layer in enumerate(settings.layers):
        keys, residuals = [], []
        for fact, target in zip(facts, targets, strict=True):
            of_contexts = at_subject(lm, fact, contexts, (layer, "mlp_key")).double()
            # The bare prompt weighs as much as all others together.
            keys.append((of_contexts[0] + of_contexts[1:].mean(dim=0)) / 2)
            residuals.append((target - at_subject(lm, fact, ["{}"], top)[0]).double())
        k = torch.stack(keys, dim=1)
        r = torch.stack(residuals, dim=1) / (len(settings.layers) - index)
        cost = settings.preservation_weight * resources.second_moments[layer].cost
        system = cost + settings.norm_weight * torch.eye(len(cost)) + k @ k.T
        down_projection(lm, layer).add_(torch.linalg.solve(system, k @ r.T).T.float())


def r_rome(lm: LanguageModel, resources: Resources, settings: RRomeSettings, fact: Fact) -> None:
    """Write one fact by R-ROME (arXiv 2403.07175): Δ = r (C⁻¹ k̄)ᵀ / (k̄ᵀ C⁻¹ k̄), one mean key k̄ throughout."""
    contexts, (layer,) = resources.contexts["uniform"], settings.layers
    target, _ = search(lm, fact, contexts, [(layer, "mlp_output")], settings)
    k = at_subject(lm, fact, contexts, (layer, "mlp_key")).double().mean(dim=0)
    r = target.double() - at_subject(lm, fact, contexts, (layer, "mlp_output")).double().mean(dim=0)
    u = torch.linalg.solve(resources.second_moments[layer].cost, k)
    down_projection(lm, layer).add_((torch.outer(r, u) / (k @ u)).float())


Losses = list[tuple[tuple[float, bool], tuple[float, bool]]]
"""For each prompt, loss and whether it is most probable: of the object that counts, then of the other one."""


@torch.no_grad()
def score(lm: LanguageModel, fact: Fact) -> dict[str, float]:
    """Shares `es, ps, ns, rs` and accuracies `ea, pa, na, ra` of a fact (ROME, arXiv 2202.05262, section 3.4)."""
    return _scores(
        {
            kind: [(loss_of(lm, prompt, wanted), loss_of(lm, prompt, other)) for prompt, wanted, other in asked]
            for kind, asked in _kinds(fact).items()
        }
    )


@torch.no_grad()
def score_in_one_pass(lm: LanguageModel, fact: Fact) -> dict[str, float]:
    """The same as `score`, from one padded pass of all prompts of the fact, each with either object."""
    rows = [
        with_object(lm, prompt, target)
        for asked in _kinds(fact).values()
        for prompt, wanted, other in asked
        for target in (wanted, other)
    ]
    ids, mask = padded([ids for ids, _ in rows])
    logits = lm.model(input_ids=ids, attention_mask=mask).logits
    losses = iter(
        _loss(of_row[first - 1 : len(ids) - 1], ids[first:]) for of_row, (ids, first) in zip(logits, rows, strict=True)
    )
    return _scores({kind: [(next(losses), next(losses)) for _ in asked] for kind, asked in _kinds(fact).items()})


def _kinds(fact: Fact) -> dict[str, list[tuple[str, str, str]]]:
    """For each kind of score, its prompts, each with the object that counts and the other one."""
    new, true = fact.target_new, fact.target_true
    return {
        "e": [(fact.question, new, true)],
        "p": [(prompt, new, true) for prompt in fact.paraphrases],
        "n": [(prompt, true, new) for prompt in fact.neighbours],
        "r": [(asked.prompt, asked.target, new) for asked in fact.subject_prompts],
    }


def _scores(losses: dict[str, Losses]) -> dict[str, float]:
    scores = {}
    for kind, pairs in losses.items():
        shares = [float(good < bad) for (good, _), (bad, _) in pairs]
        right = [float(right) for (_, right), _ in pairs]
        scores[f"{kind}s"] = sum(shares) / len(shares) if shares else math.nan
        scores[f"{kind}a"] = sum(right) / len(right) if right else math.nan
    return scores


@torch.no_grad()
def loss_of(lm: LanguageModel, prompt: str, target: str) -> tuple[float, bool]:
    """Mean of -log p over an object's tokens, and whether each is the most probable one."""
    ids, first = with_object(lm, prompt, target)
    logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
    return _loss(logits[first - 1 : len(ids) - 1], ids[first:])


def _loss(logits: torch.Tensor, target: Sequence[int]) -> tuple[float, bool]:
    total, right = 0.0, True
    for predicted, token in zip(logits.log_softmax(dim=-1), target, strict=True):
        total -= predicted[token].item()
        right &= predicted.argmax().item() == token
    return total / len(target), right


@torch.no_grad()
def second_moments(
    lm: LanguageModel, windows: list[torch.Tensor], layers: list[int], whole: bool = True
) -> dict[int, torch.Tensor]:
    """E[k kᵀ] [d, d] of each layer over windows [rows, tokens] of text, one layer after another.

    Args:
        whole: run all of the model each time; published code stops a pass at its layer.
    """
    moments = {}
    for layer in layers:
        width = down_projection(lm, layer).shape[1]
        total, count = torch.zeros(width, width, dtype=torch.float64), 0

        def add(keys: torch.Tensor) -> None:
            nonlocal total, count
            keys = keys.flatten(0, 1).double()
            total, count = total + keys.T @ keys, count + len(keys)
            if not whole:
                raise _Enough

        for ids in windows:
            with hooked(lm, (layer, "mlp_key"), add), suppress(_Enough):
                lm.model(input_ids=ids)
        moments[layer] = total / count
    return moments
