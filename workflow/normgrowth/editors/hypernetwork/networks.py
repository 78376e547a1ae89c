"""Hypernetworks, which turn an edit's gradients into an update of each matrix, and the editor that applies them.

For a matrix W of a layer, the loss of the new object gives each token t an input x_t [d] and an output gradient
g_t [o], whose outer products sum to W's gradient. Both methods here transform normalised [x; g] by low-rank residual
layers shared between matrices, with a scale and a shift of each matrix's own; they differ in where the scale stands,
in which tokens count, and in how the result is written.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from normgrowth.editors.base import Change, Memory, Resources, Trace, trained_records, write
from normgrowth.editors.locate.solving import naming, solve_positive
from normgrowth.editors.settings import HypernetworkSettings
from normgrowth.errors import ArtefactError
from normgrowth.facts.records import Fact
from normgrowth.lm.continuations import continuations
from normgrowth.lm.hooks import changing, reading, with_gradients
from normgrowth.lm.model import LanguageModel
from normgrowth.seeds import derive

BLOCKS = 2
"""Residual blocks of the network, as in both papers."""

EPSILON = 1e-7
RETRAIN = "its learned ridge has come to nothing: train the hypernetwork again with a lower rate_learning_rate"

Parameters = dict[str, torch.Tensor]
"""A network's tensors by name; `mean` and `std` [d + o] are its normalisation and are not trained."""


@dataclass(frozen=True)
class TokenGradients:
    """Inputs and output gradients of one matrix at m tokens."""

    inputs: torch.Tensor  # [m, d], what the matrix read
    gradients: torch.Tensor  # [m, o], of the loss with respect to what it wrote


def token_gradients(
    lm: LanguageModel,
    facts: list[Fact],
    layers: tuple[int, ...],
    answer_tokens_only: bool,
    weigh: Literal["facts", "tokens"] = "facts",
) -> tuple[torch.Tensor, dict[int, TokenGradients]]:
    """Losses [n] of the facts' new objects, and inputs and gradients by layer, at the same tokens in every layer.

    Args:
        answer_tokens_only: take only the tokens at which an object's token is predicted.
        weigh: what counts alike in the loss that gradients are of: facts, each by the mean over its object's tokens,
            or all objects' tokens.
    """
    batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
    keys, outputs = [(layer, "mlp_key") for layer in layers], [(layer, "mlp_output") for layer in layers]
    with torch.enable_grad(), reading(lm.anatomy, keys) as seen, with_gradients(lm.anatomy, outputs) as added:
        predicted = batch.predictions(lm)
        losses = batch.losses(predicted)
        total = losses.sum() if weigh == "facts" else -predicted.gather(1, batch.token[:, None]).sum()
        gradients = torch.autograd.grad(total, [added[place] for place in outputs])
    taken = torch.zeros_like(batch.mask, dtype=torch.bool)  # [rows, tokens]
    if answer_tokens_only:
        taken[batch.row, batch.position] = True
    else:
        taken = batch.mask.bool()
    return losses.detach(), {
        layer: TokenGradients(seen[layer, "mlp_key"].detach()[taken].float(), gradient[taken].float())
        for layer, gradient in zip(layers, gradients, strict=True)
    }


class Network:
    """Parameters and transformation of [x; g], which both methods share."""

    answer_tokens_only = False

    def __init__(self, settings: HypernetworkSettings) -> None:
        self.settings = settings
        self.layers = settings.edited_layers

    def initial(self, d: int, o: int, seed: int) -> Parameters:
        """Parameters under which the transformation is the identity."""
        rank, width, count = self.settings.rank, d + o, len(self.layers)
        generator = torch.Generator().manual_seed(derive(seed, "hypernetwork"))
        parameters: Parameters = {"rate": torch.ones(count)}
        for block in range(BLOCKS):
            # width is d + o; scale and shift have a row per edited matrix
            parameters[f"into.{block}"] = torch.randn(width, rank, generator=generator) / width**0.5
            parameters[f"out.{block}"] = torch.zeros(rank, width)
            parameters[f"bias.{block}"] = torch.zeros(width)
            parameters[f"scale.{block}"] = torch.ones(count, width)
            parameters[f"shift.{block}"] = torch.zeros(count, width)
        return parameters

    def transform(self, p: Parameters, number: int, tokens: TokenGradients) -> tuple[torch.Tensor, torch.Tensor]:
        """x~ [m, d] and g~ [m, o] of matrix `number`; tokens without a gradient give none."""
        # y, and the term of each block, are [m, d + o].
        y = (torch.cat([tokens.inputs, tokens.gradients], dim=1) - p["mean"]) / (p["std"] + EPSILON)
        for block in range(BLOCKS):
            before = (y @ p[f"into.{block}"]) @ p[f"out.{block}"] + p[f"bias.{block}"]
            y = y + self.activated(before, p[f"scale.{block}"][number], p[f"shift.{block}"][number])
        d = tokens.inputs.shape[1]
        present = (tokens.gradients != 0).any(dim=1, keepdim=True)
        return y[:, :d], y[:, d:] * present

    def activated(self, before: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """The term that a block adds to its input [m, d + o], with scale and shift [d + o] of the matrix."""
        raise NotImplementedError

    def update(self, p: Parameters, number: int, tokens: TokenGradients) -> Change:
        """The update of matrix `number`, a rank-m change for m tokens."""
        raise NotImplementedError


class Mend(Network):
    """MEND: W <- W + rate * sum over tokens of g~ x~ᵀ (arXiv 2110.11309, section 3); the rate's sign is learned."""

    def activated(self, before: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """max(0, scale * before + shift)."""
        # clamp, not relu: only clamp passes a gradient at zero, where training starts.
        return (scale * before + shift).clamp(min=0)

    def update(self, p: Parameters, number: int, tokens: TokenGradients) -> Change:
        """See `Network.update`."""
        x, g = self.transform(p, number, tokens)
        return Change(-self.settings.initial_rate * p["rate"][number] * g.T, x.T)


class Malmen(Network):
    """MALMEN: a value shift D_t = -rate (x_t . x~_t) g~_t per token, written into W by ridge regression over tokens.

    ΔW = D Xᵀ (X Xᵀ + e^rho I)⁻¹ (arXiv 2311.04661, eq. 5), with learned rho.
    """

    answer_tokens_only = True

    def initial(self, d: int, o: int, seed: int) -> Parameters:
        """Parameters under which the transformation is the identity, and a ridge of one."""
        return {**super().initial(d, o, seed), "rho": torch.zeros(len(self.layers))}

    def activated(self, before: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """scale * max(0, before) + shift."""
        return scale * before.clamp(min=0) + shift

    def update(self, p: Parameters, number: int, tokens: TokenGradients) -> Change:
        """See `Network.update`."""
        x, g = self.transform(p, number, tokens)
        agreement = (tokens.inputs * x).sum(dim=1, keepdim=True)  # x_t . x~_t, [m, 1]
        shifts = -self.settings.initial_rate * p["rate"][number] * agreement * g  # [m, o]
        return Change(shifts.T, ridge_regression(tokens.inputs.T, p["rho"][number].exp()))


def ridge_regression(keys: torch.Tensor, ridge: torch.Tensor, remedy: str = RETRAIN) -> torch.Tensor:
    """(X Xᵀ + ridge I)⁻¹ X [d, m] for keys X [d, m], in float64 by way of the smaller of the two systems.

    Args:
        ridge: a number, as a tensor.
        remedy: what to change where the system has no solution.

    Raises:
        UnsolvableError: when the system is not positive definite in float64.
    """
    x = keys.double()
    d, m = x.shape
    system = (x.T @ x if m <= d else x @ x.T) + ridge.double() * torch.eye(min(m, d), dtype=x.dtype, device=x.device)
    solved = solve_positive(system, x.T, remedy).T if m <= d else solve_positive(system, x, remedy)
    return solved.float()


class HypernetworkEditor:
    """An editor that makes one step of a trained network in each call, on matrices that earlier calls have changed."""

    def __init__(self, settings: HypernetworkSettings, network: Network) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.network = network

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Bind the trained network; see `Editor.prepare`."""
        self.parameters = resources.hypernetwork
        d, o = input_output_widths(lm, self.layers)
        if len(self.parameters["mean"]) != d + o:
            raise ArtefactError(
                f"the hypernetwork is for inputs and gradients of width {len(self.parameters['mean'])}, "
                f"where the model has {d} + {o}; train it again"
            )

    def begin(self, lm: LanguageModel) -> Memory:
        """No memory."""
        return {}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Write a batch of facts by one joint gradient; see `Editor.edit`."""
        losses, tokens = token_gradients(lm, facts, self.layers, self.network.answer_tokens_only)
        changes = {}
        with torch.no_grad():
            for number, layer in enumerate(self.layers):
                with naming(layer, facts):
                    changes[layer] = self.network.update(self.parameters, number, tokens[layer])
                write(lm, layer, changes[layer], facts)
        return Trace(trained_records(facts, 1, losses.tolist()), changes)


def input_output_widths(lm: LanguageModel, layers: tuple[int, ...]) -> tuple[int, int]:
    """d and o of the edited matrices.

    Raises:
        ArtefactError: when they differ between layers, which one network cannot serve.
    """
    shapes = {tuple(lm.anatomy.down_projections[layer].matrix.shape) for layer in layers}
    if len(shapes) > 1:
        raise ArtefactError(f"the down-projections of layers {list(layers)} differ in shape: {sorted(shapes)}")
    o, d = shapes.pop()
    return d, o


@contextmanager
def edited(lm: LanguageModel, changes: dict[int, Change]) -> Iterator[None]:
    """Let each layer's down-projection act as W + left rightᵀ inside the block, differentiable in left and right."""
    with ExitStack() as stack:
        keys = stack.enter_context(reading(lm.anatomy, [(layer, "mlp_key") for layer in changes]))

        def add(layer: int) -> Callable[[torch.Tensor], torch.Tensor]:
            change = changes[layer]
            # keys [rows, tokens, d], values [rows, tokens, o]
            return lambda values: values + (keys[layer, "mlp_key"] @ change.right) @ change.left.T

        for layer in changes:
            stack.enter_context(changing(lm.anatomy, (layer, "mlp_output"), add(layer)))
        yield
