"""Running statistics of the inputs and output gradients of a matrix, and the normalisation by them.

The rows [h; g] of all tokens seen so far have a count n, a mean and sums of squared deviations from it, which are
updated batch by batch without the earlier rows (Chan, Golub and LeVeque 1983). All is in float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from normgrowth.editors.base import Memory
from normgrowth.editors.hypernetwork.networks import TokenGradients
from normgrowth.editors.locate.solving import UnsolvableError

SMALLEST = 1e-7
"""Added to standard deviations, in units of their root mean square over the coordinates of h or of g."""

SMALLEST_EIGENVALUE = 1e-6
"""Least eigenvalue of a covariance, in units of their mean; StableEdit's code takes the absolute number."""


class Normalised(NamedTuple):
    """Inputs and output gradients of m tokens in units of what was seen so far."""

    inputs: torch.Tensor  # [m, d]
    gradients: torch.Tensor  # [m, o]


@dataclass(frozen=True)
class Running:
    """Count, mean and deviations of the rows [h; g] seen so far; an update is a new object."""

    inputs: int  # d, the coordinates of h
    count: int
    mean: torch.Tensor  # [d + o]
    squares: torch.Tensor  # [d + o], sums of squared deviations from the mean
    products: torch.Tensor | None  # [o, o], sums of products of g's deviations, where they are kept

    @classmethod
    def begin(cls, d: int, o: int, device: torch.device, with_products: bool) -> "Running":
        """No rows yet, of d + o coordinates."""
        zeros = torch.zeros(d + o, dtype=torch.float64, device=device)
        products = zeros.new_zeros(o, o) if with_products else None
        return cls(d, 0, zeros, zeros.clone(), products)

    @classmethod
    def of_memory(cls, memory: Memory, name: str, d: int) -> "Running":
        """The statistics that were remembered under a name."""
        return cls(
            d,
            int(memory[f"count.{name}"].item()),
            memory[f"mean.{name}"],
            memory[f"squares.{name}"],
            memory.get(f"products.{name}"),
        )

    def to_memory(self, memory: Memory, name: str) -> None:
        """Remember the statistics under a name."""
        memory[f"count.{name}"] = torch.tensor(self.count)
        memory[f"mean.{name}"], memory[f"squares.{name}"] = self.mean, self.squares
        if self.products is not None:
            memory[f"products.{name}"] = self.products

    def updated(self, tokens: TokenGradients) -> "Running":
        """The statistics with the rows of m tokens added."""
        rows = torch.cat([tokens.inputs, tokens.gradients], dim=1).double()  # [m, d + o]
        m, total = len(rows), self.count + len(rows)
        mean = rows.mean(dim=0)
        shift, weight = mean - self.mean, self.count * m / total
        apart = rows - mean
        squares = self.squares + apart.square().sum(dim=0) + weight * shift.square()
        products = self.products
        if products is not None:
            g, of_g = apart[:, self.inputs :], shift[self.inputs :]
            products = products + g.T @ g + weight * torch.outer(of_g, of_g)
        return Running(self.inputs, total, self.mean + shift * (m / total), squares, products)

    def normalised(self, tokens: TokenGradients) -> Normalised:
        """Rows of m tokens less the mean, over the standard deviation of each coordinate; g whitened where possible.

        The variance is that of the population, squares / n: defined for one token, where published UltraEdit's is not
        a number. With products, and more than o + 1 tokens seen, g is multiplied by S^(-1/2) with S = products /
        (n - o - 1), as StableEdit's code does; before, it is treated as in UltraEdit.

        Tokens that are all there was to see, and alike, come out as zeros.
        """
        d = self.inputs
        deviations = (self.squares / max(self.count, 1)).sqrt()
        apart = torch.cat([tokens.inputs, tokens.gradients], dim=1).double() - self.mean
        h, g = apart[:, :d], apart[:, d:]
        freedom = self.count - len(deviations[d:]) - 1
        if self.products is not None and freedom > 0:
            whitened = g @ inverse_root(self.products / freedom)
        else:
            whitened = g / _divisor(deviations[d:])
        return Normalised(h / _divisor(deviations[:d]), whitened)


def _divisor(deviations: torch.Tensor) -> torch.Tensor:
    """Standard deviations, and a little, so that coordinates that never vary come out as zeros."""
    size = deviations.square().mean().sqrt()
    return deviations + SMALLEST * size if size > 0 else torch.ones_like(deviations)


def inverse_root(covariance: torch.Tensor) -> torch.Tensor:
    """S^(-1/2) for a covariance S [o, o], its eigenvalues raised to `SMALLEST_EIGENVALUE` of their mean.

    Raises:
        UnsolvableError: when S is zero or not finite.
    """
    if not torch.isfinite(covariance).all() or covariance.trace() <= 0:
        raise UnsolvableError("has no gradients to normalise by: they are all alike, or not finite")
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=SMALLEST_EIGENVALUE * values.mean()).rsqrt()) @ vectors.T
