"""Editing and scoring as published code does it: one fact at a time, whole prompts, every layer, every logit.

It says what the library computes in the plainest way there is. Tests hold the library to it, and `benchmarks/speed.py`
times one beside the other. It shares with the library only the reading of models, facts and settings.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.locate.search import Relaxation
from normgrowth.editors.locate.search_rows import Prompt, prompts_of
from normgrowth.editors.settings import SearchSettings
from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import Place, changing, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, encode_with_target, fill, last_token_of


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
    ids, mask = lm.pad([prompt.ids for prompt in prompts])
    rows = torch.arange(len(prompts))
    subject = torch.tensor([prompt.subject_last for prompt in prompts])
    essence = len(prompts) - 1
    with torch.no_grad(), reading(lm.anatomy, places) as seen:
        logits = lm.model(input_ids=ids, attention_mask=mask).logits
    starts = [seen[place][0, subject[0]].clone() for place in places]
    unchanged = logits[essence, subject[essence]].log_softmax(dim=-1)
    offsets = [torch.zeros_like(start, requires_grad=True) for start in starts]
    adam = torch.optim.Adam(offsets, lr=settings.learning_rate)

    def adding(offset: torch.Tensor):
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
                stack.enter_context(changing(lm.anatomy, place, adding(offset)))
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
        text, span = fill(context, fact.question, fact.subject_span)
        encoded = encode(lm.tokenizer, text)
        rows.append(encoded.ids)
        subject.append(last_token_of(encoded, span))
    ids, mask = lm.pad(rows)
    with reading(lm.anatomy, [place]) as seen:
        lm.model(input_ids=ids, attention_mask=mask)
    return seen[place][torch.arange(len(rows)), torch.tensor(subject)]


def memit(lm: LanguageModel, resources: Resources, settings, facts: list[Fact]) -> None:
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
        lm.anatomy.down_projections[layer].matrix.add_(torch.linalg.solve(system, k @ r.T).T.float())


def r_rome(lm: LanguageModel, resources: Resources, settings, fact: Fact) -> None:
    """Write one fact by R-ROME (arXiv 2403.07175): Δ = r (C⁻¹ k̄)ᵀ / (k̄ᵀ C⁻¹ k̄), one mean key k̄ throughout."""
    contexts, (layer,) = resources.contexts["uniform"], settings.layers
    target, _ = search(lm, fact, contexts, [(layer, "mlp_output")], settings)
    k = at_subject(lm, fact, contexts, (layer, "mlp_key")).double().mean(dim=0)
    r = target.double() - at_subject(lm, fact, contexts, (layer, "mlp_output")).double().mean(dim=0)
    u = torch.linalg.solve(resources.second_moments[layer].cost, k)
    lm.anatomy.down_projections[layer].matrix.add_((torch.outer(r, u) / (k @ u)).float())


Losses = list[tuple[tuple[float, bool], tuple[float, bool]]]
"""Of prompts of one kind: loss of the object that counts and whether it is most probable; the other one's."""


@torch.no_grad()
def score(lm: LanguageModel, fact: Fact) -> dict[str, float]:
    """Shares `es, ps, ns` and accuracies `ea, pa, na` of a fact (ROME, arXiv 2202.05262, section 3.4)."""
    return _scores(
        {
            kind: [(loss_of(lm, prompt, wanted), loss_of(lm, prompt, other)) for prompt in prompts]
            for kind, prompts, wanted, other in _kinds(fact)
        }
    )


@torch.no_grad()
def score_in_one_pass(lm: LanguageModel, fact: Fact) -> dict[str, float]:
    """As `score`, from one padded pass of all prompts of the fact, each with either object, as published code does."""
    rows = [
        encode_with_target(lm.tokenizer, prompt, target)
        for _, prompts, wanted, other in _kinds(fact)
        for prompt in prompts
        for target in (wanted, other)
    ]
    ids, mask = lm.pad([ids for ids, _ in rows])
    logits = lm.model(input_ids=ids, attention_mask=mask).logits
    losses = iter(
        _loss(of_row[first - 1 : len(ids) - 1], ids[first:]) for of_row, (ids, first) in zip(logits, rows, strict=True)
    )
    return _scores({kind: [(next(losses), next(losses)) for _ in prompts] for kind, prompts, _, _ in _kinds(fact)})


def _kinds(fact: Fact) -> list[tuple[str, Sequence[str], str, str]]:
    """Kind of score, its prompts, the object that counts, the other one."""
    return [
        ("e", (fact.question,), fact.target_new, fact.target_true),
        ("p", fact.paraphrases, fact.target_new, fact.target_true),
        ("n", fact.neighbours, fact.target_true, fact.target_new),
    ]


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
    ids, first = encode_with_target(lm.tokenizer, prompt, target)
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
        width = lm.anatomy.down_projections[layer].matrix.shape[1]
        total, count = torch.zeros(width, width, dtype=torch.float64), 0
        for ids in windows:
            with reading(lm.anatomy, [(layer, "mlp_key")], stop=not whole) as seen:
                lm.model(input_ids=ids)
            keys = seen[layer, "mlp_key"].flatten(0, 1).double()
            total, count = total + keys.T @ keys, count + len(keys)
        moments[layer] = total / count
    return moments
