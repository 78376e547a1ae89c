"""Editors whose every step is damped along dominant directions of the matrix that it changes."""

from collections.abc import Callable

import torch

from normgrowth.editors.base import Change, DenseChange, Editor, Memory, Resources, Trace
from normgrowth.editors.locate.method import LocateThenEdit, factored
from normgrowth.editors.remedies.subspaces import Damping
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel

Directions = Callable[[torch.Tensor], Damping]
"""The damping of steps that are made near a matrix [o, d]."""


class DampedSteps:
    """Any editor with damped steps.

    A locate-then-edit editor is damped inside its loop over layers, so that the layers that follow see what was really
    written and make up for it. Of any other editor the change of a whole call is damped: its factors where it knows
    them, else the difference that it made. Biases that it trains stay as it leaves them.

    Args:
        inner: the editor.
        directions: finds the damping of a matrix.
        of_current: find it anew in each call, for the matrix before the call; otherwise once, for the unedited one.
    """

    def __init__(self, inner: Editor, directions: Directions, of_current: bool = False) -> None:
        self.inner = inner
        self.layers = inner.layers
        self.directions = directions
        self.of_current = of_current

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Prepare the editor inside, and find the directions of the unedited matrices."""
        self.inner.prepare(lm, resources)
        self.projections = {layer: lm.anatomy.down_projections[layer] for layer in self.layers}
        if not self.of_current:
            self.unedited = {layer: self.directions(p.matrix) for layer, p in self.projections.items()}
        if isinstance(self.inner, LocateThenEdit):
            self.inner.filter = lambda layer, change: self._damped(layer, change, self.projections[layer].matrix)

    def begin(self, lm: LanguageModel) -> Memory:
        """The memory of the editor inside."""
        return self.inner.begin(lm)

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit with damped steps; see `Editor.edit`."""
        if isinstance(self.inner, LocateThenEdit):
            return self.inner.edit(lm, memory, facts)
        before = {layer: projection.matrix.clone() for layer, projection in self.projections.items()}
        trace = self.inner.edit(lm, memory, facts)
        if trace.changes is None:
            for layer, projection in self.projections.items():
                self._damp_in_place(layer, projection.matrix, before[layer])
            return trace
        changes: dict[int, Change | DenseChange] = {}
        for layer, change in trace.changes.items():
            projection = self.projections[layer]
            projection.matrix.copy_(before[layer])
            changes[layer] = self._damped(layer, change, before[layer])
            changes[layer].apply(projection)
        return Trace(trace.records, factored(changes))

    def _damping(self, layer: int, matrix: torch.Tensor) -> Damping:
        return self.directions(matrix) if self.of_current else self.unedited[layer]

    def _damped(self, layer: int, change: Change | DenseChange, matrix: torch.Tensor) -> Change | DenseChange:
        """The damped change of a layer's matrix [o, d]."""
        if isinstance(change, Change) and change.scale != 1:
            product = (change.left @ change.right.T).to(matrix.device)
            change = DenseChange(change.scale * (matrix + product) - matrix)
        return self._damping(layer, matrix).of(change)

    def _damp_in_place(self, layer: int, matrix: torch.Tensor, before: torch.Tensor) -> None:
        """Take what damping takes off the step out of a matrix [o, d]; where that is nothing, no bit of it changes."""
        edited = matrix.double()
        matrix.copy_(edited - self._damping(layer, before).taken_off(edited - before.double()))
