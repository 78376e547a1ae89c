"""The search for the value that makes the model say the new object (ROME, arXiv 2202.05262, eq. 4).

For each fact an offset δ is added to the activation at the subject's last token, in the fact's prompt under every
context and in the prompt "<subject> is a", and moved by Adam to lower

    mean over contexts of -log p(new object) + kl_factor * KL(p_δ || p_0) + weight_decay * ||δ|| / ||v_0||²

where p is the next-token distribution at the subject's last token of "<subject> is a", p_0 that without δ, and v_0
the activation of the bare prompt without δ. The target is v_0 + δ. All facts of a batch are searched together: the
losses are independent, so each δ moves as it would alone.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from normgrowth.capture import changing, reading
from normgrowth.editors.settings import SearchSettings
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode, encode_with_target, fill, last_token_of

ROWS_PER_PASS = 256
"""Prompts in one forward pass: bounds memory, and is fixed so that results do not depend on the machine."""

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Targets:
    """Targets [n, width] of n facts and what their search did, one entry per fact."""

    values: torch.Tensor
    offsets: torch.Tensor
    steps: list[int]  # gradient steps taken
    losses: list[float]  # at the end


@dataclass(frozen=True)
class _Rows:
    """The prompts of some facts: for each fact its contexts (the bare prompt first), then "<subject> is a"."""

    ids: torch.Tensor  # [rows, tokens]
    mask: torch.Tensor
    subject_last: torch.Tensor  # [rows]
    fact: torch.Tensor  # [rows], the row's fact within the batch
    bare: torch.Tensor  # [facts], the row of each bare prompt
    essence: torch.Tensor  # [facts], the row of each "<subject> is a"
    scored_row: torch.Tensor  # [scored], one entry per target token to predict
    scored_position: torch.Tensor
    scored_token: torch.Tensor
    scored_weight: torch.Tensor  # of its log-probability in the fact's loss


def search_targets(
    lm: LanguageModel,
    facts: list[Fact],
    contexts: list[str],
    place: tuple[int, str],
    settings: SearchSettings,
) -> Targets:
    """Search the target value at `place` for each fact.

    Raises:
        EditError: when a loss is not finite; the message names the edit.
    """
    per_pass = max(1, ROWS_PER_PASS // (len(contexts) + 1))
    parts = [
        _search(lm, facts[start : start + per_pass], contexts, place, settings)
        for start in range(0, len(facts), per_pass)
    ]
    return Targets(
        torch.cat([part.values for part in parts]),
        torch.cat([part.offsets for part in parts]),
        [n for part in parts for n in part.steps],
        [loss for part in parts for loss in part.losses],
    )


def _search(
    lm: LanguageModel, facts: list[Fact], contexts: list[str], place: tuple[int, str], settings: SearchSettings
) -> Targets:
    everything = list(range(len(facts)))
    prompts = [_prompts(lm, fact, contexts) for fact in facts]
    with torch.no_grad():
        rows = _rows(lm, prompts, everything)
        with reading(lm.anatomy, [place]) as seen:
            hidden = lm.hidden(rows.ids, rows.mask)
        start = seen[place][rows.bare, rows.subject_last[rows.bare]].float()  # v_0, [facts, width]
        unchanged = _essence(lm, hidden, rows)  # log p_0, [facts, vocabulary]
    scale = start.norm(dim=1)

    offsets = torch.zeros_like(start)
    first_moment, second_moment = torch.zeros_like(start), torch.zeros_like(start)
    steps, losses = [0] * len(facts), [float("nan")] * len(facts)
    active = everything
    for step in range(1, settings.steps + 1):
        moving = offsets[active].requires_grad_()
        loss = _loss(lm, rows, moving, scale[active], unchanged[active], place, settings)
        for fact, value in zip(active, loss.tolist(), strict=True):
            losses[fact] = value
            if not math.isfinite(value):
                case_id = facts[fact].case_id
                raise EditError(f"the target search of case {case_id} gave a loss of {value} at its step {step}")
        going = [i for i, fact in enumerate(active) if losses[fact] >= settings.stop_loss]
        if step == settings.steps or not going:
            break
        (gradient,) = torch.autograd.grad(loss[going].sum(), moving)
        gradient = gradient[going]
        if len(going) < len(active):
            active = [active[i] for i in going]
            rows = _rows(lm, prompts, active)
        with torch.no_grad():
            beta1, beta2 = ADAM_BETAS
            first_moment[active] = beta1 * first_moment[active] + (1 - beta1) * gradient
            second_moment[active] = beta2 * second_moment[active] + (1 - beta2) * gradient.square()
            direction = first_moment[active] / (1 - beta1**step)
            spread = (second_moment[active] / (1 - beta2**step)).sqrt() + ADAM_EPSILON
            moved = offsets[active] - settings.learning_rate * direction / spread
            longest = settings.clamp * scale[active]
            shrink = (longest / moved.norm(dim=1)).clamp(max=1.0)
            offsets[active] = moved * shrink[:, None]
        for fact in active:
            steps[fact] = step
    return Targets(start + offsets, offsets, steps, losses)


def _loss(lm, rows, offsets, scale, unchanged, place, settings) -> torch.Tensor:
    """The loss of each active fact, [active]."""

    def add(activation: torch.Tensor) -> torch.Tensor:
        every_row = torch.arange(len(rows.ids), device=activation.device)
        added = torch.zeros_like(activation)
        added[every_row, rows.subject_last] = offsets[rows.fact].to(activation.dtype)
        return activation + added

    with changing(lm.anatomy, place, add):
        hidden = lm.hidden(rows.ids, rows.mask)
    predicted = log_softmax(lm.logits(hidden[rows.scored_row, rows.scored_position]).float(), dim=-1)
    scored = predicted.gather(1, rows.scored_token[:, None]).squeeze(1) * rows.scored_weight
    likelihood = torch.zeros_like(scale).index_add(0, rows.fact[rows.scored_row], scored)
    essence = _essence(lm, hidden, rows)
    divergence = (essence.exp() * (essence - unchanged)).sum(dim=1)
    decay = torch.linalg.vector_norm(offsets, dim=1) / scale.square()
    return -likelihood + settings.kl_factor * divergence + settings.weight_decay * decay


def _essence(lm: LanguageModel, hidden: torch.Tensor, rows: _Rows) -> torch.Tensor:
    at_subject = hidden[rows.essence, rows.subject_last[rows.essence]]
    return log_softmax(lm.logits(at_subject).float(), dim=-1)


@dataclass(frozen=True)
class _Prompt:
    ids: tuple[int, ...]
    subject_last: int
    target_at: int | None  # position of the target's first token; None for "<subject> is a"


def _prompts(lm: LanguageModel, fact: Fact, contexts: list[str]) -> list[_Prompt]:
    prompts = []
    for context in contexts:
        text, span = fill(context, fact.question, fact.subject_span)
        ids, target_at = encode_with_target(lm.tokenizer, text, fact.target_new)
        prompts.append(_Prompt(ids, last_token_of(encode(lm.tokenizer, text), span), target_at))
    essence = encode(lm.tokenizer, f"{fact.subject} is a")
    prompts.append(_Prompt(essence.ids, last_token_of(essence, (0, len(fact.subject))), None))
    return prompts


def _rows(lm: LanguageModel, prompts: list[list[_Prompt]], facts: list[int]) -> _Rows:
    """Lay the prompts of `facts` out as one padded batch; facts are numbered anew from 0."""
    rows, subject_last, fact_of, bare, essence = [], [], [], [], []
    scored: list[tuple[int, int, int, float]] = []
    for number, fact in enumerate(facts):
        contexts = len(prompts[fact]) - 1
        bare.append(len(rows))
        for prompt in prompts[fact]:
            if prompt.target_at is None:
                essence.append(len(rows))
                rows.append(prompt.ids)
            else:
                length = len(prompt.ids) - prompt.target_at
                weight = 1.0 / (length * contexts)
                for position in range(prompt.target_at, len(prompt.ids)):
                    scored.append((len(rows), position - 1, prompt.ids[position], weight))
                rows.append(prompt.ids[:-1])  # the target's last token is only predicted
            subject_last.append(prompt.subject_last)
            fact_of.append(number)
    ids, mask = lm.pad(rows)

    def index(values: list) -> torch.Tensor:
        return torch.tensor(values, device=lm.device)

    row, position, token, weight = zip(*scored, strict=True)
    return _Rows(
        ids, mask, index(subject_last), index(fact_of), index(bare), index(essence),
        index(list(row)), index(list(position)), index(list(token)), index(list(weight)),
    )  # fmt: skip
