"""Control arms, which separate growth of the norm from other possible causes of collapse.

A real run changes three things at once: the size of the edited matrices, the direction of their drift, and the facts
that are written. Each arm keeps some of these and drops the others.
"""

import torch

from normgrowth.editors.base import Change, Editor, EditRecord, Memory, Resources, Trace
from normgrowth.editors.settings import FollowerSettings
from normgrowth.errors import ArtefactError
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel
from normgrowth.seeds import derive

STEP = "step"
"""Key in an arm's memory of the number of edits made."""


def _norms(lm: LanguageModel, layers: tuple[int, ...]) -> dict[int, float]:
    return {layer: frobenius(lm.anatomy.down_projections[layer].matrix) for layer in layers}


class _Wrapper:
    """An arm that makes the edits of the editor inside, and keeps that editor's memory."""

    def __init__(self, inner: Editor) -> None:
        self.inner = inner
        self.layers = inner.layers

    def begin(self, lm: LanguageModel) -> Memory:
        """The memory of the editor inside."""
        return self.inner.begin(lm)


class NormRestored(_Wrapper):
    """Any editor, each edited matrix rescaled to its unedited Frobenius norm after every call: edits without growth."""

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Prepare the editor inside, and note the norms of the unedited matrices."""
        self.inner.prepare(lm, resources)
        self.original = _norms(lm, self.layers)

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit, then rescale."""
        trace = self.inner.edit(lm, memory, facts)
        changes: dict[int, Change] = {}
        for layer in self.layers:
            projection = lm.anatomy.down_projections[layer]
            scale = self.original[layer] / frobenius(projection.matrix)
            projection.matrix.mul_(scale)
            if trace.changes is not None:
                change = trace.changes[layer]
                changes[layer] = Change(change.left, change.right, change.scale * scale)
        return Trace(trace.records, None if trace.changes is None else changes)


class NoFeedback(_Wrapper):
    """Any editor, each edit computed on the unedited matrices and its change added to the edited ones.

    What an edit writes then depends on no earlier edit but through the editor's own memory.
    """

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Prepare the editor inside, and keep the unedited matrices and biases."""
        self.inner.prepare(lm, resources)
        self.unedited = KeptWeights.of(lm, self.layers)

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit the unedited model, and make the same change of the edited one."""
        with self.unedited.in_place():
            trace = self.inner.edit(lm, memory, facts)
            alone = KeptWeights.of(lm, self.layers)
        if trace.changes is not None:
            for layer, change in trace.changes.items():
                change.apply(lm.anatomy.down_projections[layer])
            return trace
        with torch.no_grad():
            for (parameter, after), (_, before) in zip(alone.pairs, self.unedited.pairs, strict=True):
                parameter.add_(after - before)
        return trace


class _Follower:
    """An arm that follows the recorded norms of another editor's run."""

    def __init__(self, settings: FollowerSettings) -> None:
        self.settings = settings
        self.layers = settings.edited_layers

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind the recorded run, and note the norms of the unedited matrices."""
        self.trajectory, self.seed = resources.trajectory, resources.seed
        self.original = _norms(lm, self.layers)

    def begin(self, lm: LanguageModel) -> Memory:
        """The number of edits made so far, none."""
        return {STEP: torch.zeros((), dtype=torch.int64)}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Make the step that the recorded run made here; the facts are not used."""
        memory[STEP] = memory[STEP] + len(facts)
        step = int(memory[STEP].item())
        if step not in self.trajectory:
            raise ArtefactError(f"the run of {self.settings.editor!r} that is followed has no record of step {step}")
        changes = {}
        for layer in self.layers:
            projection = lm.anatomy.down_projections[layer]
            changes[layer] = self._change(projection.matrix, layer, step, len(facts))
            changes[layer].apply(projection)
        return Trace([EditRecord(case_id=fact.case_id) for fact in facts], changes)

    def _change(self, matrix: torch.Tensor, layer: int, step: int, count: int) -> Change:
        """The change of a layer's matrix [o, d] that leads to `step`, for a batch of `count` facts."""
        raise NotImplementedError


class ScaleOnly(_Follower):
    """The unedited matrix scaled along a run's norms: the growth without the edits."""

    def _change(self, matrix: torch.Tensor, layer: int, step: int, count: int) -> Change:
        ratio, _ = self.trajectory[step][layer]
        o, d = matrix.shape
        none = matrix.new_zeros
        return Change(none(o, 0), none(d, 0), ratio * self.original[layer] / frobenius(matrix))


class RandomDirection(_Follower):
    """Random low-rank steps, each as large as the step of a recorded run: the drift without the meaning.

    Left and right factors are Gaussian; each fact of a batch adds one rank, as the closed forms do.
    """

    def _change(self, matrix: torch.Tensor, layer: int, step: int, count: int) -> Change:
        _, size = self.trajectory[step][layer]
        o, d = matrix.shape
        generator = torch.Generator().manual_seed(derive(self.seed, "random direction", layer, step))
        left = torch.randn(o, count, generator=generator, dtype=torch.float64)
        right = torch.randn(d, count, generator=generator, dtype=torch.float64)
        # ||L Rᵀ||² = tr(LᵀL RᵀR)
        norm = ((left.T @ left) * (right.T @ right)).sum().sqrt()
        return Change((left * (size / norm)).float().to(matrix.device), right.float().to(matrix.device))
