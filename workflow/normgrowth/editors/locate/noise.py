"""Values kept out of what earlier edits wrote, where it disturbs a fact unusually much (DeltaEdit, arXiv 2505.07899).

Earlier edits add (W - W_0) k to the output of the last edited layer for a new fact's key k: noise, where k is none of
theirs. Its norm has a running mean and variance. Where the norm is several standard deviations away from the mean, the
fact's offset δ is projected, after every step of its search, out of the dominant directions of [noise, W - W_0].
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from normgrowth.editors.base import Memory, Resources
from normgrowth.editors.locate.anchor import BARE_PROMPT
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.method import LocateThenEdit, Method
from normgrowth.editors.locate.search import Targets, search_targets
from normgrowth.editors.locate.solving import ROUNDING
from normgrowth.editors.settings import SearchSettings
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.model import LanguageModel

NOISE = "noise"
"""Name in a run's memory of the running statistics."""

DECAY = 0.9
"""Weight of the running mean and variance against a new value, as published."""


@dataclass(frozen=True)
class Guard:
    """Rule that says which facts are kept out of which directions."""

    deviations: float  # standard deviations between usual noise and the noise of a fact that is kept out
    warm_up: int  # facts before the first that may be kept out
    share: float  # of the output's directions, at most, that are dominant
    threshold: float | None  # least squared singular value of a dominant direction; rounding's where it is None

    def dominant(self, drift: torch.Tensor, noise: torch.Tensor, rounding: float) -> torch.Tensor:
        """The dominant directions [o, r] of a drift W - W_0 [o, d] and a noise [o], orthonormal.

        Args:
            rounding: singular value below which the drift is rounding.
        """
        squares, vectors = torch.linalg.eigh(drift @ drift.T + torch.outer(noise, noise))  # ascending
        most = int(self.share * len(squares))
        least = rounding**2 if self.threshold is None else self.threshold
        return vectors[:, -most:][:, squares[-most:] > least] if most else vectors[:, :0]


class NoiseStatistics(NamedTuple):
    """Running statistics of the norm of the noise; the mean is NaN before its first value."""

    facts: float  # searched so far, with or without noise
    mean: float
    variance: float

    def is_unusual(self, norm: float, guard: Guard) -> bool:
        """True for a norm, of a fact that `facts` counts already, that is too far away from the mean."""
        past_warm_up = self.facts > guard.warm_up and self.variance > 0
        return past_warm_up and abs(norm - self.mean) > guard.deviations * math.sqrt(self.variance)

    def with_value(self, norm: float) -> "NoiseStatistics":
        """The statistics with one more norm; published code takes the variance about the new mean."""
        mean = norm if math.isnan(self.mean) else DECAY * self.mean + (1 - DECAY) * norm
        return NoiseStatistics(self.facts, mean, DECAY * self.variance + (1 - DECAY) * (norm - mean) ** 2)


class NoiseGuarded(LocateThenEdit):
    """An editor that follows a method, with values kept out of what earlier edits wrote."""

    def __init__(self, settings: SearchSettings, method: Method, guard: Guard) -> None:
        super().__init__(settings, method)
        self.guard = guard

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind what the method needs, and the unedited matrix of the last edited layer."""
        super().prepare(lm, resources)
        matrix = lm.anatomy.down_projections[self.layers[-1]].matrix
        self.unedited = matrix.to(lm.device, copy=True)
        self.rounding = ROUNDING * frobenius(self.unedited)

    def begin(self, lm: LanguageModel) -> Memory:
        """The method's memory, and statistics without a value."""
        return super().begin(lm) | {NOISE: torch.tensor([0.0, math.nan, 0.0], dtype=torch.float64)}

    def search(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Targets:
        """The facts' targets under the current weights; counts the facts' noise in the memory."""
        top = self.layers[-1]
        drift = (lm.anatomy.down_projections[top].matrix.to(lm.device) - self.unedited).double()  # [o, d]
        keys = at_subject(lm, facts, BARE_PROMPT, [(top, "mlp_key")])[top, "mlp_key"][:, 0]
        closed: list[torch.Tensor | None] = []
        statistics = NoiseStatistics(*memory[NOISE].tolist())
        edited = bool(drift.any())
        for noise in keys.double() @ drift.T:  # [o], of each fact
            norm = noise.norm().item()
            statistics = statistics._replace(facts=statistics.facts + 1)
            unusual = edited and statistics.is_unusual(norm, self.guard)
            closed.append(self.guard.dominant(drift, noise, self.rounding).float() if unusual else None)
            if edited and not unusual:
                statistics = statistics.with_value(norm)
        memory[NOISE] = torch.tensor(statistics, dtype=torch.float64)
        return search_targets(lm, facts, self.templates, replace(self._search_with(memory), closed=tuple(closed)))
