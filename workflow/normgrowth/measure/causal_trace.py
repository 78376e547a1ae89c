"""Causal trace: the states of a model that carry a fact.

The model reads a fact's prompt as it is (clean), with noise on the embeddings of the subject's tokens (corrupted), and
with the same noise but some states put back to their clean values (restored). The total effect of the noise is
P(clean) - P(corrupted), P being the probability of the true object; the indirect effect of the states is
P(restored) - P(corrupted). The states are those at the subject's last token: the residual stream behind one block, or
the outputs of the MLPs of a window of blocks.
Source: Meng et al., "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262), section 2 and appendix B.

Where the source takes the first token of the object, P is here that of all its tokens, so that an object of several
tokens counts as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from normgrowth.facts.orthography import joined
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import weight_of
from normgrowth.lm.hooks import Place, changing, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import Encoded, encode, encode_with_target, last_token_of
from normgrowth.seeds import derive

NOISE_SCALE = 3.0
"""Standard deviation of the noise, in standard deviations of the subjects' embeddings."""

NOISE_SAMPLES = 5
"""Draws of the noise for each fact."""

WINDOW_SHARE = 10 / 48
"""Share of the blocks in a window of MLPs: the source takes 10 of GPT2-XL's 48."""

TOKENS_PER_PASS = 4096
"""Tokens in one forward pass: bounds memory; results do not depend on it beyond rounding."""


class Effects(NamedTuple):
    """Effects of noise and of restored states on the probability of one fact's true object, means over the noise."""

    clean: float
    corrupted: float
    residual: tuple[float, ...]  # indirect effect of the residual stream behind a block, by layer
    mlp: tuple[float, ...]  # of the MLP outputs in the window around a layer

    @property
    def total(self) -> float:
        """Total effect of the noise."""
        return self.clean - self.corrupted


@dataclass(frozen=True)
class _Case:
    """A prompt with its true object, as tokens."""

    ids: tuple[int, ...]
    first: int  # position of the object's first token
    subject: tuple[int, ...]  # positions of the subject's tokens

    @property
    def last(self) -> int:
        """Position of the subject's last token."""
        return self.subject[-1]


def noise_size(lm: LanguageModel, facts: Iterable[Fact]) -> float:
    """Standard deviation of the noise: three times that of all entries of the embeddings of the facts' subjects."""
    embedding = lm.model.get_input_embeddings()
    cases = [_case(lm, fact) for fact in facts]
    ids = torch.tensor([case.ids[i] for case in cases for i in case.subject], device=lm.device)
    return NOISE_SCALE * embedding(ids).float().std().item()


def window_around(layer: int, n_layers: int) -> range:
    """Layers of the window of MLPs around a layer, cut off at the model's ends."""
    width = max(1, round(WINDOW_SHARE * n_layers))
    return range(max(0, layer - width // 2), min(n_layers, layer - width // 2 + width))


@torch.no_grad()
def effects_on(lm: LanguageModel, fact: Fact, noise: float, seed: int, samples: int = NOISE_SAMPLES) -> Effects:
    """Total effect of noise on the subject, and indirect effect of the states of every layer.

    Args:
        noise: standard deviation of the noise, as `noise_size` gives it.
        seed: decides the draws, together with the fact's `case_id`.

    Raises:
        FactError: when the subject or the object has no tokens of its own.
        ModelError: when the prompt is longer than the model's context.
    """
    case, depth = _case(lm, fact), lm.anatomy.n_layers
    residual = [(layer, "residual") for layer in range(depth)]
    mlp = [(layer, "mlp_output") for layer in range(depth)]
    with reading(lm.anatomy, [*residual, *mlp]) as seen:
        clean = _probabilities(lm, case, rows=1).item()
    states = {place: activation[0, case.last] for place, activation in seen.items()}
    generator = torch.Generator().manual_seed(derive(seed, "causal trace", fact.case_id))
    width = weight_of(lm.model.get_input_embeddings()).shape[1]
    draws = noise * torch.randn(samples, len(case.subject), width, generator=generator)
    restored: list[tuple[Place, ...]] = [(), *((place,) for place in residual)]
    restored += [tuple(mlp[inside] for inside in window_around(layer, depth)) for layer in range(depth)]
    corrupted, *found = _with_states_restored(lm, case, draws, states, restored)
    indirect = [probability - corrupted for probability in found]
    return Effects(clean, corrupted, tuple(indirect[:depth]), tuple(indirect[depth:]))


def _case(lm: LanguageModel, fact: Fact) -> _Case:
    """A fact as tokens.

    Raises:
        FactError: when the subject or the object has no tokens of its own.
    """
    ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_true)
    encoded = encode(lm.tokenizer, joined(fact.question, fact.target_true))
    return _Case(ids, first, _covering(encoded, fact.subject_span))


def _covering(encoded: Encoded, span: tuple[int, int]) -> tuple[int, ...]:
    """Positions of all tokens that cover a part of the characters `span`, up to the last token of its last one."""
    last = last_token_of(encoded, span)
    begin, end = span
    return tuple(i for i, (left, right) in enumerate(encoded.spans[: last + 1]) if left < end and right > begin)


def _with_states_restored(
    lm: LanguageModel,
    case: _Case,
    draws: torch.Tensor,
    states: dict[Place, torch.Tensor],
    restored: Sequence[Sequence[Place]],
) -> list[float]:
    """Probability of the object under noise for each set of restored places, mean over the draws.

    Args:
        draws: noise [samples, subject tokens, width].
        states: clean activations [width] at the subject's last token.
        restored: sets of places; several are run in one pass, each in rows of its own.
    """
    samples = len(draws)
    at_once = max(1, TOKENS_PER_PASS // (samples * len(case.ids)))
    found: list[float] = []
    for start in range(0, len(restored), at_once):
        part = restored[start : start + at_once]
        with ExitStack() as stack:
            stack.enter_context(_noise(lm, case.subject, draws.repeat(len(part), 1, 1)))
            for place in sorted({place for places in part for place in places}):
                groups = [group for group, places in enumerate(part) if place in places]
                rows = [group * samples + sample for group in groups for sample in range(samples)]
                change = partial(_restored, rows, case.last, states[place])
                stack.enter_context(changing(lm.anatomy, place, change))
            probabilities = _probabilities(lm, case, rows=len(part) * samples)
        found += probabilities.view(len(part), samples).mean(dim=1).tolist()
    return found


@contextmanager
def _noise(lm: LanguageModel, positions: Sequence[int], noise: torch.Tensor) -> Iterator[None]:
    """Add noise [rows, positions, width] to the embeddings of the tokens at some positions."""

    def add(_module: nn.Module, _inputs: object, embeddings: torch.Tensor) -> torch.Tensor:
        corrupted = embeddings.clone()
        corrupted[:, list(positions)] += noise.to(embeddings)
        return corrupted

    handle = lm.model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _restored(rows: Sequence[int], position: int, state: torch.Tensor, activation: torch.Tensor) -> torch.Tensor:
    """An activation [rows, tokens, width] with `state` [width] at one position of some rows."""
    changed = activation.clone()
    changed[list(rows), position] = state.to(activation)
    return changed


def _probabilities(lm: LanguageModel, case: _Case, rows: int) -> torch.Tensor:
    """Probability [rows] of all tokens of the object after the prompt, in as many equal rows."""
    ids = torch.tensor([case.ids[:-1]], device=lm.device).repeat(rows, 1)
    predicted = lm.logits(lm.hidden(ids, torch.ones_like(ids))[:, case.first - 1 :]).float().log_softmax(dim=-1)
    target = torch.tensor(case.ids[case.first :], device=lm.device)
    return predicted[:, range(len(target)), target].sum(dim=1).exp()


class Average(NamedTuple):
    """Mean over facts, and its standard error (None for a single fact)."""

    value: float
    error: float | None


@dataclass(frozen=True)
class AverageEffects:
    """Average effects over several facts: the total one (ATE) and the indirect ones (AIE), by layer."""

    facts: int
    clean: float
    corrupted: float
    residual: tuple[Average, ...]
    mlp: tuple[Average, ...]
    agreeing: int  # facts whose own largest effect of MLPs lies in the window around the average's

    @property
    def total(self) -> float:
        """Average total effect of the noise."""
        return self.clean - self.corrupted

    @property
    def peak(self) -> int:
        """Layer around which the MLPs carry most: the least one, where several carry the same."""
        return _peak([average.value for average in self.mlp])

    @property
    def peak_beyond_first(self) -> int | None:
        """The same among windows without the first layer; None where every window holds it.

        The MLP of the first layer reads little more than the token itself, so its clean output puts the subject's name
        back, rather than what the model knows of it.
        """
        beyond = [layer for layer in range(len(self.mlp)) if 0 not in window_around(layer, len(self.mlp))]
        return max(beyond, key=lambda layer: self.mlp[layer].value, default=None)

    def share(self, average: Average) -> float:
        """Part of the average total effect that comes back; 0 where the noise takes nothing away."""
        return average.value / self.total if self.total > 0 else 0.0


def average(effects: Sequence[Effects]) -> AverageEffects:
    """Average effects over facts, of which there is at least one."""
    residual, mlp = (
        tuple(_average(torch.tensor(column, dtype=torch.float64)) for column in zip(*of_facts, strict=True))
        for of_facts in ([one.residual for one in effects], [one.mlp for one in effects])
    )
    near = window_around(_peak([layer.value for layer in mlp]), len(mlp))
    return AverageEffects(
        facts=len(effects),
        clean=sum(one.clean for one in effects) / len(effects),
        corrupted=sum(one.corrupted for one in effects) / len(effects),
        residual=residual,
        mlp=mlp,
        agreeing=sum(_peak(one.mlp) in near for one in effects),
    )


def _average(values: torch.Tensor) -> Average:
    error = (values.std() / len(values) ** 0.5).item() if len(values) > 1 else None
    return Average(values.mean().item(), error)


def _peak(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
