"""The interface of editors, which the edit loop drives, and the types that pass through it."""

from dataclasses import dataclass, field
from typing import Protocol

import torch

from normgrowth.editors.moments import NullSpace, SecondMoment
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.anatomy import Projection
from normgrowth.lm.model import LanguageModel

Memory = dict[str, torch.Tensor]
"""Named tensors that an editor remembers between calls; saved with the run's state."""

Trajectory = dict[int, dict[int, tuple[float, float]]]
"""Norms of a recorded run by step and layer: ||W|| in units of the unedited norm, and that of the step's change."""


@dataclass(frozen=True)
class Change:
    """A change of one matrix: W [o, d] becomes scale * (W + left rightᵀ), left [o, r] and right [d, r] in float32."""

    left: torch.Tensor
    right: torch.Tensor
    scale: float = 1.0

    def apply(self, projection: Projection) -> None:
        """Make the change in place. Editing and replaying a saved run both use this method, so their bits agree."""
        if self.left.shape[1]:
            device = projection.weight.device
            # Strides choose the kernel and with it the rounding; saved factors come back contiguous.
            left, right = self.left.contiguous().to(device), self.right.contiguous().to(device)
            projection.matrix.add_(left @ right.T)
        if self.scale != 1.0:
            projection.matrix.mul_(self.scale)


@dataclass(frozen=True)
class DenseChange:
    """A change of one matrix without low-rank factors: W [o, d] becomes W + step, in float32."""

    step: torch.Tensor

    def apply(self, projection: Projection) -> None:
        """Make the change in place."""
        projection.matrix.add_(self.step.to(projection.weight.device))


def write(lm: LanguageModel, layer: int, change: Change | DenseChange, facts: list[Fact]) -> None:
    """Make a change of a layer's down-projection.

    Raises:
        EditError: when it is not finite; the message names the edit.
    """
    parts = (change.left, change.right) if isinstance(change, Change) else (change.step,)
    if not all(torch.isfinite(part).all() for part in parts):
        raise EditError(
            f"the update of layer {layer} for {named(facts)} is not finite: its target or its keys have overflowed; "
            "lower clamp or learning_rate, or make fewer edits"
        )
    change.apply(lm.anatomy.down_projections[layer])


@dataclass(frozen=True)
class EditRecord:
    """Record of one edit, the row of table `edits`; quantities that an editor does not know are None."""

    case_id: int
    search_steps: int | None = None
    search_loss: float | None = None
    target_norm: float | None = None
    offset_norm: float | None = None
    key_norm: float | None = None
    residual_norm: float | None = None
    skipped_reason: str | None = None


def trained_records(facts: list[Fact], steps: int, losses: list[float]) -> list[EditRecord]:
    """Records of facts that were trained on together."""
    return [
        EditRecord(case_id=fact.case_id, search_steps=steps, search_loss=loss)
        for fact, loss in zip(facts, losses, strict=True)
    ]


@dataclass
class Trace:
    """Outcome of one call of an editor: a record per fact, and its changes where it knows them as factors.

    `changes` maps layers to the change of their down-projection; None says that the matrices were changed in place
    without known factors, so that a state has to hold the matrices themselves.
    """

    records: list[EditRecord]
    changes: dict[int, Change] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """Resources gathered before any edit; those that the editor's settings list in `needs` are filled."""

    contexts: dict[str, list[str]]  # template sets by name; each template holds {} once
    second_moments: dict[int, SecondMoment] = field(default_factory=dict)  # of the keys, by layer
    null_spaces: dict[int, NullSpace] = field(default_factory=dict)  # of the second moments, by layer
    gradient_moments: dict[int, SecondMoment] = field(default_factory=dict)  # second moments at the outputs, by layer
    hypernetwork: dict[str, torch.Tensor] = field(default_factory=dict)  # trained tensors by name
    trajectory: Trajectory = field(default_factory=dict)  # of the run that a control arm follows
    facts: tuple[Fact, ...] = ()  # all facts that the study's orders are drawn from
    reserved: tuple[Fact, ...] = ()  # facts that the study keeps out of all orders
    seed: int = 0  # of this run: differs between models, editors and orders


class Editor(Protocol):
    """One way to write facts into a model."""

    layers: tuple[int, ...]

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind gathered resources and whatever is needed of the unedited weights; called at each start of a process.

        Raises:
            ArtefactError: when gathered resources do not fit the model.
        """

    def begin(self, lm: LanguageModel) -> Memory:
        """The memory of a run before its first edit; called once a run, on the unedited model."""

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write `facts` into the model, in place, and update the memory in place.

        Raises:
            EditError: when an edit has no usable result; the message names it.
        """
