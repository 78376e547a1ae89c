"""Anatomy of an architecture: where its blocks, projections, final norm and head are.

Everything is found from the module graph (types, shapes, signatures), never from a model's name or path:

* the blocks are the longest list of equal modules;
* a block's attention is the child whose forward takes an attention mask;
* the MLP's down-projection is the last linear map outside attention that writes the residual width, and
  attention's output projection the last inside it.
"""

import inspect
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from normgrowth.errors import ModelError


@dataclass(frozen=True)
class Projection:
    """A linear map y = W x + b with W seen as [outputs, inputs] however it is stored."""

    name: str  # of the weight parameter in the model
    layer: int
    module: nn.Module

    @property
    def weight(self) -> nn.Parameter:
        """The parameter as stored: [outputs, inputs] for Linear, [inputs, outputs] for Conv1D."""
        return self.module.get_parameter("weight")

    @property
    def matrix(self) -> torch.Tensor:
        """W as [outputs, inputs]: a view that shares the parameter's memory."""
        weight = weight_of(self.module).detach()
        return weight.T if self.is_transposed else weight

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The module's own parameters by name: its weight, and its bias where it has one."""
        return dict(self.module.named_parameters())

    @property
    def is_transposed(self) -> bool:
        """True where the parameter is stored as [inputs, outputs], as in Conv1D."""
        return isinstance(self.module, Conv1D)


def weight_of(module: nn.Module) -> torch.Tensor:
    """The weight of a linear map, a norm or an embedding."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def frobenius(matrix: torch.Tensor) -> float:
    """||W||_F, summed in float64."""
    return torch.linalg.vector_norm(matrix, dtype=torch.float64).item()


@dataclass(frozen=True)
class Anatomy:
    """The parts of a causal language model that editing and measuring need."""

    blocks: tuple[nn.Module, ...]
    down_projections: tuple[Projection, ...]
    attention_outputs: tuple[Projection, ...]
    trunk: PreTrainedModel  # everything up to and including the final norm
    head: nn.Module
    hidden_size: int

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def home(self) -> torch.device:
        """Device of the input embeddings; where blocks lie on several devices, all other work is done on this one."""
        return weight_of(self.trunk.get_input_embeddings()).device


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """Find the parts of a transformers causal language model.

    Raises:
        ModelError: saying which part was not found.
    """
    kind = type(model).__name__
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{kind}: no output head was found (get_output_embeddings gives nothing)")
    hidden_size = weight_of(head).shape[1]
    path, blocks = _blocks(model, kind)
    downs: list[Projection] = []
    outputs: list[Projection] = []
    for layer, block in enumerate(blocks):
        attention = [name for name, child in block.named_children() if _takes_attention_mask(child)]
        if not attention:
            raise ModelError(f"{kind}: block {layer} has no child that takes an attention mask: attention not found")
        inside = tuple(f"{name}." for name in attention)
        packed = [name for name, p in block.named_parameters() if p.ndim > 2 and not name.startswith(inside)]
        if packed:
            raise ModelError(
                f"{kind}: block {layer} holds {packed[0]}, which is no matrix: a mixture of experts or a convolution "
                "has no single MLP down-projection"
            )
        writers = [(name, module) for name, module in block.named_modules() if _output_width(module) == hidden_size]
        for found, part, kept in (
            (downs, "MLP down-projection", [w for w in writers if not w[0].startswith(inside)]),
            (outputs, "attention output projection", [w for w in writers if w[0].startswith(inside)]),
        ):
            if not kept:
                raise ModelError(f"{kind}: block {layer} has no {part} of output width {hidden_size}")
            name, module = kept[-1]
            found.append(Projection(f"{path}.{layer}.{name}.weight", layer, module))
    trunk = model.base_model
    if trunk is model or not isinstance(trunk, PreTrainedModel):
        raise ModelError(f"{kind}: the trunk below the head was not found (base_model is the model itself)")
    return Anatomy(tuple(blocks), tuple(downs), tuple(outputs), trunk, head, hidden_size)


def _blocks(model: nn.Module, kind: str) -> tuple[str, nn.ModuleList]:
    """Name and modules of the longest list of equal modules.

    Raises:
        ModelError: when there is no such list.
    """
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(m) for m in module}) == 1
    ]
    if not lists:
        raise ModelError(f"{kind}: no list of equal blocks was found")
    return max(lists, key=lambda named: len(named[1]))


def _takes_attention_mask(module: nn.Module) -> bool:
    return "attention_mask" in inspect.signature(module.forward).parameters


def _output_width(module: nn.Module) -> int | None:
    """Number of outputs of a linear map; None for any other module."""
    if isinstance(module, nn.Linear):
        return module.weight.shape[0]
    if isinstance(module, Conv1D):
        return module.weight.shape[1]
    return None
