"""What an editor is: the one interface that the edit loop drives."""

from dataclasses import dataclass, field
from typing import Protocol

import torch

from normgrowth.anatomy import Projection
from normgrowth.editors.statistics import SecondMoment
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel

Memory = dict[str, torch.Tensor]
"""What an editor remembers between calls, as named tensors; saved with the run's state."""


@dataclass(frozen=True)
class LowRank:
    """A change of one matrix: W [o, d] becomes W + left rightᵀ, with left [o, r] and right [d, r] in float32."""

    left: torch.Tensor
    right: torch.Tensor

    def apply(self, projection: Projection) -> None:
        """Add the change in place. Editing and replaying a saved run both come here, so their bits agree."""
        # Strides choose the kernel and with it the rounding; saved factors come back contiguous.
        projection.matrix.add_(self.left.contiguous() @ self.right.contiguous().T)


@dataclass(frozen=True)
class EditRecord:
    """What one edit did; quantities that an editor has not are None."""

    case_id: int
    search_steps: int | None = None
    search_loss: float | None = None
    target_norm: float | None = None
    offset_norm: float | None = None
    key_norm: float | None = None
    residual_norm: float | None = None
    skipped_reason: str | None = None


@dataclass
class Trace:
    """What one call of an editor did: a record per fact, and its changes where it knows them as factors.

    `changes` maps layers to the change of their down-projection; None says that the matrices were changed in
    place in a way that only the matrices themselves can tell.
    """

    records: list[EditRecord]
    changes: dict[int, LowRank] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """What was gathered on the unedited model before any edit."""

    contexts: dict[str, list[str]]  # template sets by name; each template holds {} once
    second_moments: dict[int, SecondMoment]  # of the keys, by layer


class Editor(Protocol):
    """One way to write facts into a model."""

    layers: tuple[int, ...]

    def prepare(self, lm: LanguageModel, resources: Resources) -> Memory:
        """Bind what was gathered on the unedited model; return the memory a run begins with."""

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write `facts` into the model, in place, and update the memory in place.

        Raises:
            EditError: when an edit comes to nothing usable; the message names it.
        """
