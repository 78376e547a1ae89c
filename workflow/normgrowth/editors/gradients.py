"""Inputs and output gradients of down-projections at every token, for the loss of facts' new objects."""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from normgrowth.capture import changing, reading
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode_with_target


@dataclass(frozen=True)
class TokenGradients:
    """Of one matrix, at m tokens: what it read and how the loss depends on what it wrote."""

    inputs: torch.Tensor  # [m, d]
    gradients: torch.Tensor  # [m, o]


@dataclass(frozen=True)
class Sequences:
    """Prompts with objects, teacher forced; the objects' last tokens are only predicted."""

    ids: torch.Tensor  # [rows, tokens]
    mask: torch.Tensor
    row: torch.Tensor  # [scored], one entry per token to predict
    position: torch.Tensor
    token: torch.Tensor

    def losses(self, lm: LanguageModel) -> torch.Tensor:
        """Mean over its object's tokens of -log p for each row."""
        hidden = lm.hidden(self.ids, self.mask)[self.row, self.position]
        taken = log_softmax(lm.logits(hidden).float(), dim=-1).gather(1, self.token[:, None]).squeeze(1)
        zeros = torch.zeros(len(self.ids), device=self.ids.device)
        count = zeros.index_add(0, self.row, torch.ones_like(taken))
        return -zeros.index_add(0, self.row, taken) / count


def sequences(lm: LanguageModel, prompts: list[tuple[str, str]]) -> Sequences:
    """Prompts and objects as one right-padded batch."""
    rows, row, position, token = [], [], [], []
    for number, (prompt, target) in enumerate(prompts):
        ids, first = encode_with_target(lm.tokenizer, prompt, target)
        rows.append(ids[:-1])
        row += [number] * (len(ids) - first)
        position += range(first - 1, len(ids) - 1)
        token += ids[first:]
    return Sequences(*lm.pad(rows), *(torch.tensor(values, device=lm.device) for values in (row, position, token)))


def token_gradients(
    lm: LanguageModel, facts: list[Fact], layers: tuple[int, ...], answer_tokens_only: bool
) -> tuple[torch.Tensor, dict[int, TokenGradients]]:
    """Losses [n] of the facts' new objects, and inputs and gradients by layer, at the same tokens in every layer.

    Args:
        answer_tokens_only: take only the tokens that an object's token is read off.
    """
    batch = sequences(lm, [(fact.question, fact.target_new) for fact in facts])
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
        losses = batch.losses(lm)
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
