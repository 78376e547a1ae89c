"""SimIE: the edits that an editor makes of the unedited model, brought together by recursive least squares.

Published as a wrapper that simulates an ideal editor, one that edits with all facts at once (ICML 2025). Every edit is
computed on the unedited weights W_0, and its matrix W_edit [o, d] counts by what it does to the edit's own keys
K [d, m]:

    P ← P + K Kᵀ,   W ← W + (W_edit - W) K Kᵀ P⁻¹,   P = lambda I at first.

After any number of edits W minimises Σ ||(W - W_edit) K||² + lambda ||W - W_0||², whatever their order.
"""

from typing import Literal

import torch

from normgrowth.editors.base import Change, Editor, Memory, Resources, Trace, write
from normgrowth.editors.locate.anchor import BARE_PROMPT
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.solving import naming, solve_positive
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact
from normgrowth.lm.hooks import Place, reading
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode_with_target

Tokens = Literal["all", "subject_last"]

RELATIVE_RIDGE = 0.01
"""Default lambda, in mean squared lengths of the unedited model's keys at the subjects' last tokens: a fact's key alone
then keeps 99% of its edit. Published values: 10 for MEMIT on Llama-2, and in EasyEdit 10,000 for ROME on Llama-3."""

FACTS_FOR_RIDGE = 32
"""Facts over which that length is taken."""

LARGER_RIDGE = "raise ridge"


class IdealEditor:
    """Any editor of one fact or a batch at a time, whose edits are brought together; a batch's keys count as one K.

    Biases that the editor trains stay unedited: the rule is one of matrices.

    Args:
        inner: the editor.
        ridge: lambda; fitted to the model's keys when left out.
        tokens: whose keys make up K: all of prompt and new object, as in published code, or the subject's last alone,
            under the bare prompt.
    """

    def __init__(self, inner: Editor, ridge: float | None, tokens: Tokens) -> None:
        self.inner = inner
        self.layers = inner.layers
        self.ridge = ridge
        self.tokens = tokens

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Prepare the editor inside, and keep the unedited matrices and biases."""
        self.inner.prepare(lm, resources)
        self.facts = resources.facts
        self.unedited = KeptWeights.of(lm, self.layers)

    def begin(self, lm: LanguageModel) -> Memory:
        """The memory of the editor inside, and P = lambda I [d, d] of each layer, in float64."""
        memory = self.inner.begin(lm)
        for layer, ridge in self._ridges(lm).items():
            matrix = lm.anatomy.down_projections[layer].matrix
            memory[_gram(layer)] = ridge * torch.eye(matrix.shape[1], dtype=torch.float64, device=matrix.device)
        return memory

    def _ridges(self, lm: LanguageModel) -> dict[int, float]:
        """Lambda by layer."""
        if self.ridge is not None:
            return dict.fromkeys(self.layers, self.ridge)
        if not self.facts:
            raise EditError("lambda is left out, and there are no facts to fit it to: give ridge")
        keys = _keys(lm, list(self.facts[:FACTS_FOR_RIDGE]), self.layers, "subject_last")
        return {layer: RELATIVE_RIDGE * found.square().sum(dim=0).mean().item() for layer, found in keys.items()}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit the unedited model, and bring the edit together with those before; see `Editor.edit`."""
        with self.unedited.in_place():
            keys = _keys(lm, facts, self.layers, self.tokens)
            trace = self.inner.edit(lm, memory, facts)
            edited = {layer: lm.anatomy.down_projections[layer].matrix.double() for layer in self.layers}
        changes: dict[int, Change] = {}
        for layer in self.layers:
            matrix = lm.anatomy.down_projections[layer].matrix
            own = keys[layer].to(matrix.device)  # K, [d, m]
            memory[_gram(layer)] = memory[_gram(layer)] + own @ own.T
            with naming(layer, facts):
                right = solve_positive(memory[_gram(layer)], own, LARGER_RIDGE)  # P⁻¹ K, [d, m]
            left = (edited[layer] - matrix.double()) @ own  # [o, m]
            changes[layer] = Change(left.float(), right.float())
            write(lm, layer, changes[layer], facts)
        return Trace(trace.records, changes)


def _gram(layer: int) -> str:
    """The name in a run's memory of a layer's P [d, d]."""
    return f"ideal_editor.{layer}"


@torch.no_grad()
def _keys(lm: LanguageModel, facts: list[Fact], layers: tuple[int, ...], tokens: Tokens) -> dict[int, torch.Tensor]:
    """Keys K [d, m] by layer under the current weights, in float64, in the order of facts and tokens."""
    places: list[Place] = [(layer, "mlp_key") for layer in layers]
    if tokens == "subject_last":
        seen = at_subject(lm, facts, BARE_PROMPT, places)  # [n, 1, d]
        return {layer: seen[layer, "mlp_key"][:, 0].T.double() for layer in layers}
    ids, mask = lm.pad([encode_with_target(lm.tokenizer, fact.question, fact.target_new)[0] for fact in facts])
    with reading(lm.anatomy, places, stop=True) as read:
        lm.hidden(ids, mask)
    return {layer: read[layer, "mlp_key"][mask.bool()].T.double() for layer in layers}
