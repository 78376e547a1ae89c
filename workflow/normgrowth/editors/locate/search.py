"""The search for the value that makes the model say the new object (ROME, arXiv 2202.05262, eq. 4).

For each fact an offset δ is added to the activation at the subject's last token, in the fact's prompt under every
context and in the prompt "<subject> is a" (the KL prompt), and moved by Adam to lower

    mean over contexts of -log p(new object) + kl_factor * KL(p_δ || p_0) + weight_decay * ||δ|| / ||v_0||²

where p is the next-token distribution at the subject's last token of the KL prompt, p_0 that without δ, and v_0 the
activation of the bare prompt without δ. The target is v_0 + δ. Offsets may stand at several places at once (PMET);
then each has its own decay and its own largest norm. Where a norm follows the MLP, an offset to the residual stream is
replaced by what that MLP can write (`post_norms.Reach`), so that the target can be reached. All facts of a batch are
searched together: their losses are independent, so each δ moves as it would alone.
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

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
    """PMET's schedule of the likelihood (its code, and arXiv 2308.08742).

    After a pass in which the new object is the most probable one under every context, its loss is weighted by
    `likelihood_factor` in the next pass, otherwise by 1. The search ends at a pass in which the object is the most
    probable one and kl_factor times the divergence is no more than `divergence_stop`.
    """

    likelihood_factor: float
    divergence_stop: float


@dataclass(frozen=True)
class Search:
    """Plan of a search for target values."""

    places: tuple[Place, ...]  # where offsets stand; the target is the value at the last
    settings: SearchSettings
    relaxation: Relaxation | None = None
    rates: torch.Tensor | None = None  # Adam's step at each place; that of the settings everywhere when left out
    together: bool = False  # stop all facts of a pass at once, when their mean loss is below the stop loss
    closed: tuple[torch.Tensor | None, ...] = ()  # by fact: orthonormal directions [width, r] that offsets keep out of

    @property
    def counts_wins(self) -> bool:
        """True where the search asks for the most probable object."""
        return bool(self.settings.most_probable_stop or self.relaxation)

    def of(self, facts: list[int]) -> "Search":
        """The plan for some of the facts."""
        return replace(self, closed=tuple(self.closed[fact] for fact in facts)) if self.closed else self

    def kept_out(self, facts: list[int], offsets: torch.Tensor) -> torch.Tensor:
        """Offsets [facts, places, width] without their parts in the directions that are closed to these facts."""
        if not self.closed:
            return offsets
        parts = []
        for fact, offset in zip(facts, offsets, strict=True):
            closed = self.closed[fact]
            parts.append(offset if closed is None else offset - (offset @ closed) @ closed.T)
        return torch.stack(parts)

    def steps_of_adam(self, device: torch.device) -> torch.Tensor:
        """Adam's step at each place, [places].

        Raises:
            ValueError: when neither the search nor its settings give one.
        """
        if self.rates is not None:
            return self.rates
        if self.settings.learning_rate is None:
            raise ValueError("the search has no step: give rates, or learning_rate in the settings")
        return torch.full((len(self.places),), self.settings.learning_rate, device=device)


@dataclass(frozen=True)
class Targets:
    """Targets [n, width] of n facts at the last place, with steps and final loss of each search."""

    values: torch.Tensor
    offsets: torch.Tensor
    steps: list[int]  # gradient steps taken
    losses: list[float]  # at the end


def search_targets(lm: LanguageModel, facts: list[Fact], contexts: list[str], search: Search) -> Targets:
    """The target value of each fact under the current weights.

    Args:
        contexts: templates of the prompts; the bare prompt "{}" comes first.

    Raises:
        EditError: when a loss is not finite; the message names the edit.
    """
    prompts = [prompts_of(lm, fact, contexts) for fact in facts]
    # Facts with prompts of like length share a pass, so that little is padded.
    order = sorted(range(len(facts)), key=lambda i: max(prompt.tokens_to_run for prompt in prompts[i]))
    per_pass = max(1, ROWS_PER_PASS // (len(contexts) + 1))
    parts = []
    for start in range(0, len(facts), per_pass):
        chosen = order[start : start + per_pass]
        rows = lay_out(lm, [prompts[i] for i in chosen])
        parts.append(_search(lm, [facts[i] for i in chosen], rows, search.of(chosen)))
    number = {fact: found for found, fact in enumerate(order)}
    as_given = [number[i] for i in range(len(facts))]
    steps = [value for part in parts for value in part.steps]
    losses = [value for part in parts for value in part.losses]
    return Targets(
        torch.cat([part.values for part in parts])[as_given],
        torch.cat([part.offsets for part in parts])[as_given],
        [steps[i] for i in as_given],
        [losses[i] for i in as_given],
    )


def _search(lm: LanguageModel, facts: list[Fact], rows: Rows, search: Search) -> Targets:
    """The targets of facts whose prompts are run in one pass."""
    start, unedited, moving_rows = _before(lm, rows, search.places)
    comes_to = moving_rows.written_by_bare_prompts()
    adam = _Adam(start, search.steps_of_adam(lm.device))
    schedule = _Schedule(facts, search, start.device)
    offsets = torch.zeros_like(start)  # [facts, places, width]
    steps = [0] * len(facts)
    active = list(range(len(facts)))
    for step in range(1, search.settings.steps + 1):
        moving = offsets[active].requires_grad_()  # [active, places, width]
        terms = _terms(lm, moving_rows, moving, unedited.of(active), search)
        loss = schedule.loss(active, terms, step)
        ended = schedule.ended(active, terms, loss)
        going = [i for i, fact in enumerate(active) if fact not in ended]
        if step == search.settings.steps or not going:
            break
        (gradient,) = torch.autograd.grad(loss[going].sum(), moving)
        if len(going) < len(active):
            active = [active[i] for i in going]
            moving_rows = moving_rows.select(going)
        moved = search.kept_out(active, offsets[active] - adam.move(active, gradient[going], step))
        longest = search.settings.clamp * unedited.norms[active]  # [active, places]
        shrink = (longest / moved.norm(dim=2)).clamp(max=1.0)
        offsets[active] = moved * shrink[..., None]
        for fact in active:
            steps[fact] = step
    written = comes_to(offsets[:, -1])
    return Targets(start[:, -1] + written, written, steps, schedule.losses)


class _Unedited(NamedTuple):
    """Quantities of each fact without offsets, which the loss compares with."""

    norms: torch.Tensor  # ||v_0||, [facts, places]
    log_probabilities: torch.Tensor  # log p_0, [facts, vocabulary]

    def of(self, facts: list[int]) -> "_Unedited":
        """The entries of some facts."""
        return _Unedited(self.norms[facts], self.log_probabilities[facts])


class _MovingRows(NamedTuple):
    """The prompts of the facts whose offsets still move."""

    rows: Rows
    frozen: FrozenPrefix  # parts of the pass that no offset changes
    reach: Reach | None  # effect of offsets where a norm follows the MLP; None where it is the offset itself

    def select(self, facts: list[int]) -> "_MovingRows":
        """The prompts of some of these facts, by their number among them."""
        rows, kept = self.rows.select(facts)
        return _MovingRows(rows, self.frozen.select(kept), self.reach.select(kept) if self.reach else None)

    def written_by_bare_prompts(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Function from offsets [facts, width] to their effect [facts, width] under the bare prompts."""
        reach = self.reach.select(self.rows.bare) if self.reach else None
        return reach.of if reach else lambda offsets: offsets


class _Wins(NamedTuple):
    """Facts whose new object is the most probable one at each of its tokens, as truth values [active]."""

    in_contexts: torch.Tensor  # under every context but the bare prompt
    everywhere: torch.Tensor  # the bare prompt included


class _Terms(NamedTuple):
    """Parts of the loss of each active fact in one pass, [active]."""

    negative_log_likelihood: torch.Tensor
    divergence: torch.Tensor
    decay: torch.Tensor
    wins: _Wins | None  # None where the search does not count them


class _Schedule:
    """Weights of the loss from pass to pass, and the end of each fact's search."""

    def __init__(self, facts: list[Fact], search: Search, device: torch.device) -> None:
        self.losses = [float("nan")] * len(facts)  # of each fact's latest pass
        self._facts, self._search = facts, search
        self._wins = [0] * len(facts)
        self._likelihood_factor = torch.ones(len(facts), device=device)

    def loss(self, active: list[int], terms: _Terms, step: int) -> torch.Tensor:
        """The loss [active] of this pass.

        Raises:
            EditError: when one is not finite; the message names the edit.
        """
        settings = self._search.settings
        loss = (
            self._likelihood_factor[active] * terms.negative_log_likelihood
            + settings.kl_factor * terms.divergence
            + settings.weight_decay * terms.decay
        )
        for fact, value in zip(active, loss.tolist(), strict=True):
            self.losses[fact] = value
            if not math.isfinite(value):
                case_id = self._facts[fact].case_id
                raise EditError(f"the target search of case {case_id} gave a loss of {value} at its step {step}")
        return loss

    def ended(self, active: list[int], terms: _Terms, loss: torch.Tensor) -> set[int]:
        """The facts whose search ends with this pass. Also sets the weight of the likelihood in the next one."""
        settings, relaxation = self._search.settings, self._search.relaxation
        ended: set[int] = set()
        if settings.most_probable_stop and terms.wins:
            for fact, won in zip(active, terms.wins.in_contexts.tolist(), strict=True):
                self._wins[fact] += won
            ended |= {fact for fact in active if self._wins[fact] >= settings.most_probable_stop}
        if relaxation and terms.wins:
            won_everywhere = terms.wins.everywhere
            self._likelihood_factor[active] = torch.where(won_everywhere, relaxation.likelihood_factor, 1.0)
            near = settings.kl_factor * terms.divergence.detach() <= relaxation.divergence_stop
            ended |= {fact for fact, end in zip(active, (won_everywhere & near).tolist(), strict=True) if end}
        if self._search.together:
            ended |= set(active) if loss.mean().item() < settings.stop_loss else set()
        else:
            ended |= {fact for fact in active if self.losses[fact] < settings.stop_loss}
        return ended


class _Adam:
    """Adam for offsets [facts, places, width] of which only some still move."""

    def __init__(self, like: torch.Tensor, rates: torch.Tensor) -> None:
        self.mean, self.square = torch.zeros_like(like), torch.zeros_like(like)
        self.rates = rates[:, None]  # [places, 1]

    @torch.no_grad()
    def move(self, active: list[int], gradient: torch.Tensor, step: int) -> torch.Tensor:
        """The step to subtract from the offsets of the active facts, [active, places, width]."""
        beta1, beta2 = ADAM_BETAS
        self.mean[active] = beta1 * self.mean[active] + (1 - beta1) * gradient
        self.square[active] = beta2 * self.square[active] + (1 - beta2) * gradient.square()
        direction = self.mean[active] / (1 - beta1**step)
        spread = (self.square[active] / (1 - beta2**step)).sqrt() + ADAM_EPSILON
        return self.rates * direction / spread


@torch.no_grad()
def _before(lm: LanguageModel, rows: Rows, places: tuple[Place, ...]) -> tuple[torch.Tensor, _Unedited, _MovingRows]:
    """One pass without offsets: v_0 [facts, places, width], the quantities losses compare with, and the rows to run."""
    # An offset to a block's output leaves the block itself alone; one inside it does not.
    first = min(layer + (site == "residual") for layer, site in places)
    top = places[-1][0]
    norm = lm.post_norms[top] if places[-1][1] == "residual" else None
    read = [*places, *([(top, "mlp_output")] if norm else [])]
    frozen, seen, hidden = freeze(lm, rows, first, dict.fromkeys(read))
    start = torch.stack([seen[place][rows.bare].float() for place in places], dim=1)
    log_probabilities = log_softmax(lm.logits(hidden[rows.kl_prompt]).float(), dim=-1)
    reach = Reach(norm, seen[top, "mlp_output"].float()) if norm else None
    return start, _Unedited(start.norm(dim=2), log_probabilities), _MovingRows(rows, frozen, reach)


def _terms(
    lm: LanguageModel, moving: _MovingRows, offsets: torch.Tensor, unedited: _Unedited, search: Search
) -> _Terms:
    """Parts of the loss with `offsets` [active, places, width] in place; wins where the search counts them."""
    rows, frozen, reach = moving

    def adder(number: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def add(activation: torch.Tensor) -> torch.Tensor:
            asked = offsets[rows.fact, number]  # [rows, width]; the activation is [rows, tokens, width]
            added = reach.of(asked) if reach else asked  # a search with a reach has a single place
            return torch.cat([activation[:, :1] + added.to(activation.dtype)[:, None], activation[:, 1:]], dim=1)

        return add

    with ExitStack() as stack:
        for number, place in enumerate(search.places):
            stack.enter_context(changing(lm.anatomy, place, adder(number)))
        hidden = frozen.hidden(lm)  # [rows, tokens, width]; column 0 is the subject's last token
    columns = rows.scored_position - rows.subject_last[rows.scored_row]  # [scored]
    # One call of the head: a large vocabulary's matrix takes longer to read than to multiply with.
    asked = torch.cat([hidden[rows.scored_row, columns], hidden[rows.kl_prompt, 0]])  # [scored + active, width]
    log_probabilities = log_softmax(lm.logits(asked).float(), dim=-1)
    predicted = log_probabilities[: len(columns)]  # [scored, vocabulary]
    now = log_probabilities[len(columns) :]  # log p_δ, [active, vocabulary]
    scored = predicted.gather(1, rows.scored_token[:, None]).squeeze(1) * rows.scored_weight
    fact_of = rows.fact[rows.scored_row]  # [scored]
    likelihood = torch.zeros_like(unedited.norms[:, 0]).index_add(0, fact_of, scored)  # [active]

    wins = None
    if search.counts_wins:  # costs an argmax over the vocabulary
        missed = (predicted.detach().argmax(dim=-1) != rows.scored_token).float()
        none = torch.zeros_like(likelihood).detach()
        in_contexts = none.index_add(0, fact_of, missed * rows.scored_in_context) == 0
        wins = _Wins(in_contexts, none.index_add(0, fact_of, missed) == 0)
    return _Terms(
        negative_log_likelihood=-likelihood,
        divergence=(now.exp() * (now - unedited.log_probabilities)).sum(dim=1),
        decay=(torch.linalg.vector_norm(offsets, dim=2) / unedited.norms.square()).sum(dim=1),
        wins=wins,
    )
