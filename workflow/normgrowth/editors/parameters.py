"""Weights and biases of edited down-projections, copied and put back by editors that stand around another one."""

import torch

from normgrowth.lm.model import LanguageModel


def copy_of(lm: LanguageModel, layers: tuple[int, ...]) -> list[torch.Tensor]:
    """Copies of the weights and biases of these layers' down-projections."""
    return [parameter.detach().clone() for parameter in _parameters(lm, layers)]


@torch.no_grad()
def put(lm: LanguageModel, layers: tuple[int, ...], values: list[torch.Tensor]) -> None:
    """Give the weights and biases these values, in the order of `copy_of`."""
    for parameter, value in zip(_parameters(lm, layers), values, strict=True):
        parameter.copy_(value)


def _parameters(lm: LanguageModel, layers: tuple[int, ...]) -> list[torch.nn.Parameter]:
    projections = [lm.anatomy.down_projections[layer] for layer in layers]
    return [parameter for projection in projections for parameter in projection.parameters.values()]
