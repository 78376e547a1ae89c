"""Norms between MLP and residual stream, as some families have (Gemma 2 and 3, OLMo 2).

There an MLP whose down-projection gives y writes g y / rms(y) to the stream: the direction of y counts, its length does
not. A layer can write only points of the ellipsoid of all g u with rms(u) = 1, so an editor with a target in the stream
must aim at points of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import Anatomy, weight_of

BISECTIONS = 100
"""Bisection steps for the multiplier, enough for float64."""


@dataclass(frozen=True)
class PostNorm:
    """Norm behind one layer's MLP: y becomes g y / rms(y)."""

    module: nn.Module
    gain: torch.Tensor  # g [o], float64, on the model's first device

    def written(self, values: torch.Tensor) -> torch.Tensor:
        """Vectors [n, o] that MLP outputs y [n, o] write to the stream, by the model's own module."""
        return self.module(values.to(weight_of(self.module).device)).to(values.device)

    def nearest(self, wanted: torch.Tensor) -> torch.Tensor:
        """Directions u [n, o] with rms(u) = 1 whose g u is nearest to m [n, o], what is wanted of the stream.

        Setting the derivative of ||g u - m||² + μ (||u||² - o) to zero gives u = g m / (g² + μ); μ > -min g² makes it
        the minimum, and ||u|| falls as μ grows, so bisection finds the one that gives u its length. In float64.
        """
        square = self.gain.square()
        pull = self.gain * wanted.double()
        length = len(self.gain) ** 0.5
        low = -square.min().expand(len(wanted), 1)
        high = (pull.norm(dim=1, keepdim=True) / length).clamp(min=torch.finfo(torch.float64).tiny)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            long = (pull / (square + middle)).norm(dim=1, keepdim=True) > length
            low, high = torch.where(long, middle, low), torch.where(long, high, middle)
        return unit_rms(pull / (square + high))


def unit_rms(values: torch.Tensor) -> torch.Tensor:
    """Vectors [n, o], scaled to a root mean square of 1."""
    return values / rms(values)


def rms(values: torch.Tensor) -> torch.Tensor:
    """Root mean square [n, 1] of vectors [n, o]."""
    return values.square().mean(dim=1, keepdim=True).sqrt()


@dataclass(frozen=True)
class Reach:
    """Effect on the stream of offsets δ written through the norm N behind an MLP with outputs y.

    It is N(y + s δ) - N(y), with s = rms(y) / rms(g), so that small offsets keep their size on average.
    """

    norm: PostNorm
    values: torch.Tensor  # y [rows, o]

    def select(self, rows: torch.Tensor) -> "Reach":
        """The reach of these rows alone."""
        return Reach(self.norm, self.values[rows])

    def of(self, offsets: torch.Tensor) -> torch.Tensor:
        """Effect on the stream [rows, o] of offsets δ [rows, o]."""
        scale = rms(self.values) / rms(self.norm.gain[None]).to(self.values.dtype)
        return self.norm.written(self.values + scale * offsets) - self.norm.written(self.values)


@contextmanager
def looking_behind_mlps(anatomy: Anatomy) -> Iterator[dict[int, nn.Module]]:
    """Find, by layer, the module between MLP and residual stream, from any forward pass made inside the block.

    It is the child of a block that has a weight of the residual width and reads the output tensor of the
    down-projection itself.
    """
    given: dict[int, torch.Tensor] = {}
    behind: dict[int, nn.Module] = {}

    def keep(layer: int) -> Callable[[nn.Module, Sequence[torch.Tensor], torch.Tensor], None]:
        return lambda _module, _inputs, output: given.update({layer: output})

    def look(layer: int) -> Callable[[nn.Module, Sequence[torch.Tensor]], None]:
        def on_child(module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
            if inputs and inputs[0] is given.get(layer):
                behind[layer] = module

        return on_child

    with ExitStack() as stack:
        for layer, block in enumerate(anatomy.blocks):
            stack.callback(anatomy.down_projections[layer].module.register_forward_hook(keep(layer)).remove)
            for child in block.children():
                weight = getattr(child, "weight", None)
                if weight is not None and weight.shape == (anatomy.hidden_size,):
                    stack.callback(child.register_forward_pre_hook(look(layer)).remove)
        yield behind


@torch.no_grad()
def post_norms_of(kind: str, anatomy: Anatomy, behind: dict[int, nn.Module]) -> tuple[PostNorm | None, ...]:
    """Norm behind each layer's MLP, None where there is none, from what `looking_behind_mlps` found.

    Raises:
        ModelError: when a module that stands there is not g y / rms(y).
    """
    return tuple(_post_norm(kind, layer, behind.get(layer), anatomy.home) for layer in range(anatomy.n_layers))


def _post_norm(kind: str, layer: int, module: nn.Module | None, home: torch.device) -> PostNorm | None:
    if module is None:
        return None
    weight = weight_of(module)
    values = torch.stack([torch.ones_like(weight), torch.linspace(-1, 2, len(weight)).to(weight)])
    of_ones, written = module(values).double()
    expected = of_ones * unit_rms(values[1:].double())[0]
    if not torch.allclose(written, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item()):
        raise ModelError(
            f"{kind}: block {layer} passes its MLP's output through {type(module).__name__}, which is no norm by the "
            "root mean square; editors cannot aim through it"
        )
    return PostNorm(module, of_ones.to(home))
