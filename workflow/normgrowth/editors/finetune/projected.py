"""Fine-tuning in the directions that curve the loss of text least (CrispEdit, arXiv 2602.15823).

For a matrix W [o, d] with inputs a and gradients g of the text's loss at its outputs, A = E[a aᵀ] = U_i diag(l_i) U_iᵀ
and S = E[g gᵀ] = U_o diag(l_o) U_oᵀ. K-FAC takes l_o,j l_i,l for the curvature of the loss along the entry (j, l) of
U_oᵀ W U_i. The mask M [o, d] is 1 where that product lies below the value at which the largest ones reach a share of
their sum, and a step X of W becomes

    P(X) = U_o ((U_oᵀ X U_i) * M) U_iᵀ

Finished edits join A and S with their own moments, as a mean weighted by samples.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from normgrowth.editors.base import Memory, Resources, Trace, trained_records
from normgrowth.editors.finetune.epochs import EpochSettings, adam, steps_of_adam, train_in_epochs, trainable
from normgrowth.editors.hypernetwork.networks import token_gradients
from normgrowth.facts.records import Fact, named
from normgrowth.lm.anatomy import Projection
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode_with_target
from normgrowth.seeds import derive

CALLS, EDITS = "step", "edits"
"""Names in a run's memory: the number of calls made, and the weight of finished edits, in tokens of text. Beside them
stand, by layer, the edits' moments times that weight."""


class ProjectedSettings(EpochSettings, Protocol):
    """Settings of CrispEdit, as its own file declares them."""

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """Layers whose down-projections are trained."""

    @property
    def learning_rate(self) -> float | None:
        """Adam step; None to fit it to each matrix."""

    @property
    def protected_energy(self) -> float:
        """Share of the curvature whose directions may not change."""

    @property
    def project(self) -> Literal["step", "gradient"]:
        """What is projected."""

    @property
    def fact_weight(self) -> float:
        """Tokens of text that a finished fact counts as."""


@dataclass(frozen=True)
class FreeDirections:
    """The projection P onto the steps of a matrix that curve the loss of text least, in float32."""

    outputs: torch.Tensor  # U_o [o, o]
    inputs: torch.Tensor  # U_i [d, d]
    mask: torch.Tensor  # M [o, d], 0 or 1

    @classmethod
    def of(cls, keys: torch.Tensor, gradients: torch.Tensor, protected: float) -> "FreeDirections":
        """Those of moments A [d, d] and S [o, o], which are decomposed in float64.

        Args:
            protected: share of the summed products of eigenvalues whose directions are left alone.
        """
        of_inputs, inputs = torch.linalg.eigh(keys.double())
        of_outputs, outputs = torch.linalg.eigh(gradients.double())
        # Rounding makes eigenvalues of a singular moment negative.
        curvature = torch.outer(of_outputs.clamp(min=0), of_inputs.clamp(min=0))
        mask = free(curvature, protected)
        return cls(outputs.float(), inputs.float(), mask.float())

    def project(self, step: torch.Tensor) -> torch.Tensor:
        """P(X) for a step X [o, d]."""
        return self.outputs @ ((self.outputs.T @ step @ self.inputs) * self.mask) @ self.inputs.T


def free(curvature: torch.Tensor, protected: float) -> torch.Tensor:
    """Mask [o, d], true where the curvature is below the value at which the largest reach the protected share."""
    if protected == 0:
        return torch.ones_like(curvature, dtype=torch.bool)
    falling = curvature.flatten().sort(descending=True).values
    reached = falling.cumsum(dim=0)
    least = int((reached < protected * reached[-1]).sum().item())
    return curvature < falling[min(least, len(falling) - 1)]


class ProjectedFineTuning:
    """Adam on the weight matrices, not their biases, over a batch's facts, each step or gradient projected."""

    def __init__(self, settings: ProjectedSettings) -> None:
        self.settings = settings
        self.layers = settings.edited_layers

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind the moments of text, and fit the step to the unedited matrices."""
        self.seed = resources.seed
        self.keys, self.gradients = resources.second_moments, resources.gradient_moments
        for layer in self.layers:
            self.keys[layer].check()
            self.gradients[layer].check()
        weights = [projection.weight for projection in self._projections(lm)]
        self.rates = steps_of_adam(weights, self.settings.learning_rate)

    def begin(self, lm: LanguageModel) -> Memory:
        """No finished edits."""
        return {CALLS: torch.zeros((), dtype=torch.int64)}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Train on a batch of facts, and add its moments to those of finished edits; see `Editor.edit`."""
        memory[CALLS] = memory[CALLS] + 1
        projections = self._projections(lm)
        weights = [projection.weight for projection in projections]
        spaces = [self._free_directions(memory, projection) for projection in projections]
        optimiser = adam(weights, self.rates)

        def step() -> None:
            if self.settings.project == "gradient":
                for projection, space in zip(projections, spaces, strict=True):
                    _project_gradient(projection, space)
                optimiser.step()
            else:
                before = [projection.matrix.clone() for projection in projections]
                optimiser.step()
                for projection, space, start in zip(projections, spaces, before, strict=True):
                    projection.matrix.copy_(start + space.project(projection.matrix - start))
            optimiser.zero_grad()

        texts = [encode_with_target(lm.tokenizer, fact.question, fact.target_new) for fact in facts]
        seed = derive(self.seed, "projected", int(memory[CALLS].item()))
        with trainable(weights):
            steps, losses = train_in_epochs(lm, texts, self.settings, step, seed, f"fine-tuning on {named(facts)}")
        if self.settings.fact_weight:
            self._remember(lm, memory, facts)
        return Trace(trained_records(facts, steps, losses), changes=None)

    def _free_directions(self, memory: Memory, projection: Projection) -> FreeDirections:
        """Those of text and of finished edits together, on the matrix's device."""
        layer = projection.layer
        keys, gradients = self.keys[layer], self.gradients[layer]
        a, s = keys.moment, gradients.moment
        if EDITS in memory:
            edits = memory[EDITS]
            a = (keys.count * a + memory[f"keys.{layer}"]) / (keys.count + edits)
            s = (gradients.count * s + memory[f"gradients.{layer}"]) / (gradients.count + edits)
        device = projection.weight.device
        return FreeDirections.of(a.to(device), s.to(device), self.settings.protected_energy)

    def _remember(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> None:
        """Add a finished batch's moments, over all tokens of its texts, to those of earlier ones, by its weight."""
        _, tokens = token_gradients(lm, facts, self.layers, answer_tokens_only=False, weigh="tokens")
        weight = self.settings.fact_weight * len(facts)
        memory[EDITS] = memory.get(EDITS, torch.zeros((), dtype=torch.float64, device=lm.device)) + weight
        for layer, of_layer in tokens.items():
            for name, vectors in (("keys", of_layer.inputs.double()), ("gradients", of_layer.gradients.double())):
                added = weight * (vectors.T @ vectors) / len(vectors)
                known = memory.get(f"{name}.{layer}")
                memory[f"{name}.{layer}"] = added if known is None else known + added

    def _projections(self, lm: LanguageModel) -> list[Projection]:
        return [lm.anatomy.down_projections[layer] for layer in self.layers]


def _project_gradient(projection: Projection, space: FreeDirections) -> None:
    gradient = projection.weight.grad
    assert gradient is not None
    as_matrix = gradient.T if projection.is_transposed else gradient
    as_matrix.copy_(space.project(as_matrix))
