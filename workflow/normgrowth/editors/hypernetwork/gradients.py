"""Inputs and output gradients of down-projections at every token, for the loss of facts' new objects."""

from contextlib import ExitStack
from dataclasses import dataclass

import torch

from normgrowth.facts.records import Fact
from normgrowth.lm.continuations import continuations
from normgrowth.lm.hooks import changing, reading
from normgrowth.lm.model import LanguageModel


@dataclass(frozen=True)
class TokenGradients:
    """Of one matrix, at m tokens: what it read and how the loss depends on what it wrote."""

    inputs: torch.Tensor  # [m, d]
    gradients: torch.Tensor  # [m, o]


def token_gradients(
    lm: LanguageModel, facts: list[Fact], layers: tuple[int, ...], answer_tokens_only: bool
) -> tuple[torch.Tensor, dict[int, TokenGradients]]:
    """Losses [n] of the facts' new objects, and inputs and gradients by layer, at the same tokens in every layer.

    Args:
        answer_tokens_only: take only the tokens that an object's token is read off.
    """
    batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
    added: dict[int, torch.Tensor] = {}

    def watched(layer: int):
        def add(values: torch.Tensor) -> torch.Tensor:
            # A zero whose gradient is that of the output: no gradient of the weights is ever formed.
            added[layer] = torch.zeros_like(values, requires_grad=True)
            return values + added[layer]

        return add

    with torch.enable_grad(), ExitStack() as stack:
        seen = stack.enter_context(reading(lm.anatomy, [(layer, "mlp_key") for layer in layers]))
        for layer in layers:
            stack.enter_context(changing(lm.anatomy, (layer, "mlp_output"), watched(layer)))
        losses = batch.losses(batch.predictions(lm))
        gradients = torch.autograd.grad(losses.sum(), [added[layer] for layer in layers])
    taken = torch.zeros_like(batch.mask, dtype=torch.bool)
    if answer_tokens_only:
        taken[batch.row, batch.position] = True
    else:
        taken = batch.mask.bool()
    return losses.detach(), {
        layer: TokenGradients(seen[layer, "mlp_key"].detach()[taken].float(), gradient[taken].float())
        for layer, gradient in zip(layers, gradients, strict=True)
    }
