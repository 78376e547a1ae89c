"""The search for the value that makes the model say the new object (ROME, arXiv 2202.05262, eq. 4).

For each fact an offset δ is added to the activation at the subject's last token, in the fact's prompt under every
context and in the prompt "<subject> is a", and moved by Adam to lower

    mean over contexts of -log p(new object) + kl_factor * KL(p_δ || p_0) + weight_decay * ||δ|| / ||v_0||²

where p is the next-token distribution at the subject's last token of "<subject> is a", p_0 that without δ, and v_0
the activation of the bare prompt without δ. The target is v_0 + δ. Offsets may stand at several places at once
(PMET); then each has its own decay and its own largest norm. Where a norm stands behind the MLP, an offset to the
residual stream comes to what that MLP can write of it (`post_norms.Reach`), so that the target is one that it can
reach. All facts of a batch are searched together: the losses are independent, so each δ moves as it would alone.
"""

import math
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from normgrowth.editors.locate.prefix import FrozenPrefix, freeze
from normgrowth.editors.locate.search_rows import Rows, lay_out, prompts_of
from normgrowth.editors.settings import SearchSettings
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import Place, changing
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.post_norms import Reach

ROWS_PER_PASS = 128
"""Prompts in one forward pass: bounds memory, and is fixed so that results do not depend on the machine."""

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Relaxation:
    """PMET's schedule (its code, and arXiv 2308.08742).

    A pass that finds the new object the most probable one under every context makes its loss count `likelihood_factor`
    in the next pass; a pass that does not makes it count 1 again. The search ends at a pass where the object has won
    and kl_factor times the divergence is no more than `divergence_stop`.
    """

    likelihood_factor: float
    divergence_stop: float


@dataclass(frozen=True)
class Targets:
    """Targets [n, width] of n facts at the last place, and what their search did, one entry per fact."""

    values: torch.Tensor
    offsets: torch.Tensor
    steps: list[int]  # gradient steps taken
    losses: list[float]  # at the end


@dataclass(frozen=True)
class _Terms:
    """What one pass says about each active fact, [active]."""

    negative_log_likelihood: torch.Tensor
    divergence: torch.Tensor
    decay: torch.Tensor
    won_in_contexts: torch.Tensor | None  # the new object is most probable under every context but the bare prompt
    won: torch.Tensor | None  # ... the bare prompt included; both None where nobody asks


def search_targets(
    lm: LanguageModel,
    facts: list[Fact],
    contexts: list[str],
    places: tuple[Place, ...],
    settings: SearchSettings,
    relaxation: Relaxation | None = None,
    rates: torch.Tensor | None = None,
    together: bool = False,
) -> Targets:
    """Search the target value of each fact, with an offset at each of `places`.

    Args:
        rates: Adam's step at each place; that of the settings everywhere when left out.
        together: stop all facts of a pass together, once their mean loss is below the stop loss, instead of each by
            itself.

    Raises:
        EditError: when a loss is not finite; the message names the edit.
    """
    if rates is None:
        rates = torch.full((len(places),), settings.learning_rate, device=lm.device)
    prompts = [prompts_of(lm, fact, contexts) for fact in facts]
    # Together with those of their length, so that little is padded.
    order = sorted(range(len(facts)), key=lambda i: max(prompt.tokens_to_run for prompt in prompts[i]))
    per_pass = max(1, ROWS_PER_PASS // (len(contexts) + 1))
    parts = []
    for start in range(0, len(facts), per_pass):
        chosen = order[start : start + per_pass]
        of_pass = [facts[i] for i in chosen], lay_out(lm, [prompts[i] for i in chosen])
        parts.append(_search(lm, *of_pass, places, settings, relaxation, rates, together))
    number = {fact: found for found, fact in enumerate(order)}
    as_given = [number[i] for i in range(len(facts))]
    steps, losses = ([value for part in parts for value in of(part)] for of in (lambda p: p.steps, lambda p: p.losses))
    return Targets(
        torch.cat([part.values for part in parts])[as_given],
        torch.cat([part.offsets for part in parts])[as_given],
        [steps[i] for i in as_given],
        [losses[i] for i in as_given],
    )


def _search(
    lm: LanguageModel,
    facts: list[Fact],
    rows: Rows,
    places: tuple[Place, ...],
    settings: SearchSettings,
    relaxation: Relaxation | None,
    rates: torch.Tensor,
    together: bool,
) -> Targets:
    everything = list(range(len(facts)))
    start, unchanged, frozen, reach = _before(lm, rows, places)
    reach_of_bare = reach.select(rows.bare) if reach else None
    scale = start.norm(dim=2)  # ||v_0||, [facts, places]
    adam = _Adam(start, rates)
    count_wins = bool(settings.most_probable_stop or relaxation)
    offsets = torch.zeros_like(start)
    steps, losses, wins = [0] * len(facts), [float("nan")] * len(facts), [0] * len(facts)
    likelihood_factor = torch.ones(len(facts), device=start.device)
    active = everything
    for step in range(1, settings.steps + 1):
        moving = offsets[active].requires_grad_()
        terms = _terms(lm, frozen, reach, rows, moving, scale[active], unchanged[active], places, count_wins)
        ended = set()
        if settings.most_probable_stop:
            for fact, won in zip(active, terms.won_in_contexts.tolist(), strict=True):
                wins[fact] += won
            ended |= {fact for fact in active if wins[fact] >= settings.most_probable_stop}
        divergence = settings.kl_factor * terms.divergence
        loss = (
            likelihood_factor[active] * terms.negative_log_likelihood + divergence + settings.weight_decay * terms.decay
        )
        if relaxation:  # this pass decides what the likelihood counts in the next one
            likelihood_factor[active] = torch.where(terms.won, relaxation.likelihood_factor, 1.0)
            near = divergence.detach() <= relaxation.divergence_stop
            ended |= {fact for fact, end in zip(active, (terms.won & near).tolist(), strict=True) if end}
        for fact, value in zip(active, loss.tolist(), strict=True):
            losses[fact] = value
            if not math.isfinite(value):
                case_id = facts[fact].case_id
                raise EditError(f"the target search of case {case_id} gave a loss of {value} at its step {step}")
        if together:
            ended |= set(active) if loss.mean().item() < settings.stop_loss else set()
        else:
            ended |= {fact for fact in active if losses[fact] < settings.stop_loss}
        going = [i for i, fact in enumerate(active) if fact not in ended]
        if step == settings.steps or not going:
            break
        (gradient,) = torch.autograd.grad(loss[going].sum(), moving)
        if len(going) < len(active):
            active = [active[i] for i in going]
            rows, kept = rows.select(going)
            frozen = frozen.select(kept)
            reach = reach.select(kept) if reach else None
        moved = offsets[active] - adam.move(active, gradient[going], step)
        longest = settings.clamp * scale[active]
        shrink = (longest / moved.norm(dim=2)).clamp(max=1.0)
        offsets[active] = moved * shrink[..., None]
        for fact in active:
            steps[fact] = step
    comes_to = reach_of_bare.of(offsets[:, -1]) if reach_of_bare else offsets[:, -1]
    return Targets(start[:, -1] + comes_to, comes_to, steps, losses)


class _Adam:
    """Adam for offsets [facts, places, width] of which only some still move."""

    def __init__(self, like: torch.Tensor, rates: torch.Tensor) -> None:
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)
        self.rates = rates[:, None]  # of each place

    @torch.no_grad()
    def move(self, active: list[int], gradient: torch.Tensor, step: int) -> torch.Tensor:
        """What to subtract from the offsets of the active facts."""
        beta1, beta2 = ADAM_BETAS
        self.mean[active] = beta1 * self.mean[active] + (1 - beta1) * gradient
        self.square[active] = beta2 * self.square[active] + (1 - beta2) * gradient.square()
        direction = self.mean[active] / (1 - beta1**step)
        spread = (self.square[active] / (1 - beta2**step)).sqrt() + ADAM_EPSILON
        return self.rates * direction / spread


@torch.no_grad()
def _before(
    lm: LanguageModel, rows: Rows, places: tuple[Place, ...]
) -> tuple[torch.Tensor, torch.Tensor, FrozenPrefix, Reach | None]:
    """Without offsets: v_0 [facts, places, width], log p_0 [facts, vocabulary], what no offset will change, and what
    offsets to the residual stream come to where that is not what was asked."""
    # An offset to a block's output leaves the block itself alone; one inside it does not.
    first = min(layer + (site == "residual") for layer, site in places)
    top = places[-1][0]
    norm = lm.post_norms[top] if places[-1][1] == "residual" else None
    read = [*places, *([(top, "mlp_output")] if norm else [])]
    frozen, seen, hidden = freeze(lm, rows, first, dict.fromkeys(read))
    start = [seen[place][rows.bare].float() for place in places]
    reach = Reach(norm, seen[top, "mlp_output"].float()) if norm else None
    return torch.stack(start, dim=1), log_softmax(lm.logits(hidden[rows.essence]).float(), dim=-1), frozen, reach


def _terms(
    lm, frozen: FrozenPrefix, reach: Reach | None, rows: Rows, offsets, scale, unchanged, places, count_wins: bool
) -> _Terms:
    """The parts of the loss with `offsets` [active, places, width] in place, and who has won where that is asked."""

    def adder(number: int):
        def add(activation: torch.Tensor) -> torch.Tensor:
            asked = offsets[rows.fact, number]
            added = reach.of(asked) if reach else asked  # one with a reach has no other place
            return torch.cat([activation[:, :1] + added.to(activation.dtype)[:, None], activation[:, 1:]], dim=1)

        return add

    with ExitStack() as stack:
        for number, place in enumerate(places):
            stack.enter_context(changing(lm.anatomy, place, adder(number)))
        hidden = frozen.hidden(lm)  # column 0 is the subject's last token
    columns = rows.scored_position - rows.subject_last[rows.scored_row]
    predicted = log_softmax(lm.logits(hidden[rows.scored_row, columns]).float(), dim=-1)
    scored = predicted.gather(1, rows.scored_token[:, None]).squeeze(1) * rows.scored_weight
    fact_of = rows.fact[rows.scored_row]
    likelihood = torch.zeros_like(scale[:, 0]).index_add(0, fact_of, scored)
    essence = log_softmax(lm.logits(hidden[rows.essence, 0]).float(), dim=-1)

    won_in_contexts = won = None
    if count_wins:  # a look at the whole vocabulary
        missed = (predicted.detach().argmax(dim=-1) != rows.scored_token).float()
        none = torch.zeros_like(likelihood).detach()
        won_in_contexts = none.index_add(0, fact_of, missed * rows.scored_in_context) == 0
        won = none.index_add(0, fact_of, missed) == 0
    return _Terms(
        negative_log_likelihood=-likelihood,
        divergence=(essence.exp() * (essence - unchanged)).sum(dim=1),
        decay=(torch.linalg.vector_norm(offsets, dim=2) / scale.square()).sum(dim=1),
        won_in_contexts=won_in_contexts,
        won=won,
    )
