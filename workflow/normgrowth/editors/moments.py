"""Second moments over running text, uncentred, and null spaces of those of keys, which protect text.

A key is the input of a layer's MLP down-projection. Closed forms weigh changes by C = E[k kᵀ] (ROME, arXiv 2202.05262,
appendix E.1); AlphaEdit confines them to the directions that text leaves almost unused (arXiv 2410.02355): with
C = U diag(s) Uᵀ, its P projects onto the columns of U whose s is below a threshold. CrispEdit (arXiv 2602.15823) weighs
changes by the gradients of the text's loss too, S = E[g gᵀ] at the down-projection's outputs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from normgrowth.errors import ModelError
from normgrowth.lm.hooks import reading, with_gradients
from normgrowth.lm.model import LanguageModel

RELATIVE_THRESHOLD = 1.0
"""Default threshold, in units of the mean eigenvalue tr(C) / d: text uses directions below it less than the average
direction. Published code takes the absolute number 0.02, whose meaning differs between models and layers; the mean is
near it on a pretrained model, and some directions lie below the mean on any model."""

ROUNDING = 1e-9
"""Tolerance for eigenvalues equal to the mean, as a share of it."""

ROW_BLOCKS = 8
"""Row blocks per sum: with more blocks less of its lower half is computed, but products are thinner."""


Vectors = Literal["keys", "gradients"]
"""Vectors that second moments are of: inputs of down-projections, or gradients of the text's loss at their outputs."""


@dataclass
class SecondMoment:
    """C [d, d] in float64 of one layer's keys, or of the gradients at its outputs, gathered from `count` tokens."""

    moment: torch.Tensor
    count: int
    layer: int
    _factors: dict[float, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def mean_square(self) -> float:
        """tr(C) / d: the mean squared entry of a key."""
        return (self.moment.trace() / len(self.moment)).item()

    @property
    def cost(self) -> torch.Tensor:
        """A copy of C in which units that no token turned on have the cost of the mean unit.

        ReLU leaves such units (OPT): C is zero there, and updates would use them for free.
        """
        matrix = self.moment.clone()
        diagonal = matrix.diagonal()
        diagonal[diagonal == 0] = self.mean_square
        return matrix

    def check(self) -> None:
        """Check that C is finite.

        Raises:
            ModelError: when it is not.
        """
        if not torch.isfinite(self.moment).all():
            raise ModelError(
                f"the second moment of layer {self.layer} is not finite: the model's keys overflow or are NaN on the "
                "text it was gathered from; check the model's weights, then gather it again"
            )

    def solve(self, keys: torch.Tensor, ridge: float = 0.0) -> torch.Tensor:
        """(C + ridge I)⁻¹ K for keys [d, b], in float64, C as in `cost`; each factor is computed once.

        Raises:
            ModelError: when the matrix is not positive definite, or not finite.
        """
        if ridge not in self._factors:
            matrix = self.cost
            matrix.diagonal().add_(ridge)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            self.check()
            if failed:
                width = len(self.moment)
                raise ModelError(
                    f"the second moment of layer {self.layer} is not positive definite: {self.count} tokens are too "
                    f"few for keys of width {width}; raise second_moments.tokens to at least {10 * width}"
                )
            self._factors[ridge] = factor
        return torch.cholesky_solve(keys.double(), self._factors[ridge])


@dataclass
class Sums:
    """Sums of k kᵀ [d, d] in float64 by layer, over `count` tokens in `batches` batches.

    They are symmetric: entries below the diagonal are not kept up to date.
    """

    by_layer: dict[int, torch.Tensor] = field(default_factory=dict)
    count: int = 0
    batches: int = 0

    def moments(self) -> dict[int, SecondMoment]:
        """The second moments by layer: sums over the number of tokens."""
        found = {}
        for layer, total in self.by_layer.items():
            whole = total.triu().div_(self.count)
            found[layer] = SecondMoment(whole.add_(whole.triu(1).T), self.count, layer)
        return found

    def add(self, layer: int, keys: torch.Tensor) -> None:
        """Add k kᵀ of every key of a batch [rows, tokens, d] to a layer's sum."""
        flat = keys.flatten(0, 1).double()
        width = flat.shape[1]
        if layer not in self.by_layer:
            self.by_layer[layer] = flat.new_zeros(width, width)
        total = self.by_layer[layer]
        height = -(-width // ROW_BLOCKS)
        for start in range(0, width, height):
            rows = slice(start, start + height)
            total[rows, start:].addmm_(flat[:, rows].T, flat[:, start:])


@torch.no_grad()
def gather_second_moments(
    lm: LanguageModel,
    windows: Iterable[torch.Tensor],
    layers: Iterable[int],
    sums: Sums | None = None,
    keep: Callable[[Sums], None] = lambda sums: None,
    of: Vectors = "keys",
) -> dict[int, SecondMoment]:
    """Second moments of the keys at all `layers`, in passes that stop at the topmost, or of the gradients there.

    Args:
        windows: batches of token ids [rows, tokens], full, without padding.
        sums: sums of earlier batches to continue from; the result is the same as in one go, bit for bit.
        keep: called with the sums after every batch, to save them.
        of: the vectors.

    Returns:
        Second moments by layer.
    """
    chosen, sums = list(layers), sums or Sums()
    read = _keys if of == "keys" else _gradients
    for ids in windows:
        by_layer = read(lm, ids.to(lm.device), chosen)
        for layer, vectors in by_layer.items():
            sums.add(layer, vectors)
        sums.count += vectors_in(of, *ids.shape)
        sums.batches += 1
        keep(sums)
    return sums.moments()


def vectors_in(of: Vectors, rows: int, tokens: int) -> int:
    """Vectors of a layer in windows [rows, tokens]. The last token of a window predicts nothing: it has no gradient."""
    return rows * (tokens if of == "keys" else tokens - 1)


def _keys(lm: LanguageModel, ids: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
    """Keys [rows, tokens, d] by layer."""
    with reading(lm.anatomy, [(layer, "mlp_key") for layer in layers], stop=True) as seen:
        lm.hidden(ids, torch.ones_like(ids))
    return {layer: keys for (layer, _), keys in seen.items()}


@torch.enable_grad()
def _gradients(lm: LanguageModel, ids: torch.Tensor, layers: list[int]) -> dict[int, torch.Tensor]:
    """Gradients [rows, tokens - 1, o] by layer of the summed loss of each window's next tokens."""
    places = [(layer, "mlp_output") for layer in layers]
    with with_gradients(lm.anatomy, places) as added:
        logits = lm.logits(lm.hidden(ids, torch.ones_like(ids))[:, :-1]).float()
        loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        found = torch.autograd.grad(loss, [added[place] for place in places])
    return {layer: gradients[:, :-1] for layer, gradients in zip(layers, found, strict=True)}


@dataclass(frozen=True)
class NullSpace:
    """Projector P [d, d] of one layer, kept as an orthonormal basis of its range or complement, the thinner one."""

    basis: torch.Tensor  # [d, r], float64
    spans_range: bool
    layer: int
    mean_square: float  # tr(C) / d of the second moment it was made from

    @property
    def rank(self) -> int:
        """Dimensions that an update may use."""
        d, r = self.basis.shape
        return r if self.spans_range else d - r

    def project(self, keys: torch.Tensor) -> torch.Tensor:
        """P K for keys [d, b], in float64."""
        keys = keys.double()
        inside = self.basis @ (self.basis.T @ keys)
        return inside if self.spans_range else keys - inside


def null_space(moment: SecondMoment, threshold: float | None = None) -> NullSpace:
    """The eigenvectors of C with eigenvalues below `threshold`, or up to their mean where none is given.

    Raises:
        ModelError: when no direction lies below a given threshold, or when C is not finite.
    """
    moment.check()
    values, vectors = torch.linalg.eigh(moment.moment)  # ascending
    if threshold is None:
        below = int((values <= RELATIVE_THRESHOLD * moment.mean_square * (1 + ROUNDING)).sum())
    else:
        below = int((values < threshold).sum())
        if below == 0:
            raise ModelError(
                f"null_space_threshold is {threshold:g}, and the second moment of layer {moment.layer} has no "
                f"eigenvalue below it (the least is {values[0]:.3g}, their mean {moment.mean_square:.3g}), so nothing "
                "may be changed there: raise null_space_threshold in the editor's settings, or leave it out"
            )
    spans_range = 2 * below <= len(values)
    basis = vectors[:, :below] if spans_range else vectors[:, below:]
    return NullSpace(basis.contiguous(), spans_range, moment.layer, moment.mean_square)
