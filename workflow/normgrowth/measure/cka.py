"""Centred kernel alignment of two sets of activations of the same probes: are they alike but for rotation and scale?

Linear CKA (Kornblith et al. 2019, arXiv 1905.00414) is 1 for sets that a rotation and a scaling turn into each other,
so it is blind to growth and shrinking: it belongs beside the norm. The plain form is biased towards 1 where there are
fewer probes than dimensions; the one used here replaces HSIC by its unbiased estimator (Song et al. 2012; Nguyen et al.
2020, arXiv 2010.15327, eq. 3), whose CKA is near 0 for unrelated sets.
"""

from collections.abc import Iterable, Iterator

import torch

FEWEST = 4
"""Probes below which the unbiased estimator does not exist."""


def gram(vectors: torch.Tensor) -> torch.Tensor:
    """Inner products [n, n] of vectors [n, d] about their mean, in float64."""
    centred = vectors.double() - vectors.double().mean(dim=0)
    return centred @ centred.T


def cka(first: torch.Tensor, second: torch.Tensor) -> float:
    """Debiased linear CKA of two sets [n, d1] and [n, d2] of activations of the same n probes.

    NaN with fewer than four probes, and where a set does not vary or is not finite.
    """
    return cka_of_grams(unbiased(gram(first)), unbiased(gram(second)))


def unbiased(kernel: torch.Tensor) -> torch.Tensor:
    """The U-centred form of a kernel matrix [n, n]: zero diagonal, rows and columns that sum to zero.

    The mean product of two such matrices, sum(A * B) / (n (n - 3)), is the unbiased estimator of HSIC (Szekely and
    Rizzo 2014, section 3). All NaN with fewer than four probes.
    """
    n = len(kernel)
    if n < FEWEST:
        return torch.full_like(kernel, torch.nan)
    off = kernel - torch.diag(kernel.diagonal())
    rows = off.sum(dim=0)
    centred = off - (rows[:, None] + rows[None, :]) / (n - 2) + off.sum() / ((n - 1) * (n - 2))
    return centred - torch.diag(centred.diagonal())


def cka_of_grams(first: torch.Tensor, second: torch.Tensor) -> float:
    """CKA of two kernel matrices that `unbiased` has centred (all CKA needs of a set, whatever its width)."""
    return _aligned((first * second).sum().item(), (first * first).sum().item(), (second * second).sum().item())


def biased_cka(first: torch.Tensor, second: torch.Tensor) -> float:
    """The plain linear CKA of Kornblith et al.: near 1 for any two sets of far fewer probes than dimensions."""
    first, second = gram(first), gram(second)
    return _aligned((first * second).sum().item(), (first * first).sum().item(), (second * second).sum().item())


def minibatch_cka(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Debiased CKA from batches of probes: its three HSIC terms are means over batches, weighted by their pairs.

    For sets too large for one kernel matrix (Nguyen et al. 2020, section 3.1). A single batch gives `cka` of it.
    """
    sums = [0.0, 0.0, 0.0]
    for first, second in _unbiased_batches(batches):
        n = len(first)
        # sum / (n (n - 3)) is a batch's HSIC; a batch weighs as its number of pairs.
        weight = (n - 1) / (n - 3)
        for i, (a, b) in enumerate(((first, second), (first, first), (second, second))):
            sums[i] += weight * (a * b).sum().item()
    return _aligned(*sums)


def _unbiased_batches(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for first, second in batches:
        if len(first) >= FEWEST:
            yield unbiased(gram(first)), unbiased(gram(second))


def _aligned(cross: float, first: float, second: float) -> float:
    return cross / (first * second) ** 0.5 if first > 0 and second > 0 else float("nan")
