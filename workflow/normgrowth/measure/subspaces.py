"""The subspace that activations occupy: do the unedited model's principal components still describe the edited model's?

A basis fits the sample it was drawn from better than any other, so shares of variance are cross-fitted: components come
from one half of the probes, shares from the other, for both models alike. Without that, an edited model that changes
nothing but the sample would seem to have left its subspace.
"""

from typing import NamedTuple

import torch


class Departure(NamedTuple):
    """How far activations have left the unedited model's principal subspace. NaN where there is no number.

    `change` is `explained` minus `explained_unedited`; `change_std` / sqrt(n) is its standard error, probes being
    independent. `angles` are the principal angles between the two models' top-k subspaces, in degrees, ascending.
    `centroid_shift` is the distance of the means in units of the unedited spread (root mean square distance from the
    mean).
    """

    n: int
    components: int
    explained: float
    explained_unedited: float
    change: float
    change_std: float
    angles: list[float]
    centroid_shift: float


def principal(vectors: torch.Tensor, k: int) -> torch.Tensor:
    """The first k principal components [d, k] of vectors [n, d], fewer where their rank is smaller.

    Each has its largest entry positive, so that equal data give equal pictures.
    """
    centred = vectors - vectors.mean(dim=0)
    k = min(k, len(vectors) - 1, vectors.shape[1])
    # Leading components come from the smaller of the two matrices of products, in a fraction of a decomposition's time.
    if len(vectors) < vectors.shape[1]:
        squares, left = torch.linalg.eigh(centred @ centred.T)
        components = centred.T @ left[:, -k:].flip(1)
        # Directions beyond the vectors' rank are noise: they must not be blown up to unit length.
        least = squares[-1].clamp(min=torch.finfo(squares.dtype).tiny) * 1e-14
        components = components / squares[-k:].flip(0).clamp(min=least).sqrt()
    else:
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -k:].flip(1)
    largest = components.abs().argmax(dim=0)
    return components * components.gather(0, largest[None, :]).sign()


def departure(now: torch.Tensor, before: torch.Tensor, k: int, groups: int = 1) -> Departure:
    """Compare activations [n, d] with the unedited model's of the same probes.

    Args:
        k: principal components; at most a third of each half of the probes is taken, so that halves can tell.
        groups: consecutive rows that belong together (one window's), and fall into the same half.
    """
    now, before = now.double(), before.double()
    n = len(before)
    k = max(1, min(k, n // 6, before.shape[1] - 1))
    half = (torch.arange(n) // groups) % 2 == 0
    if n < 4 or half.all() or not bool(torch.isfinite(now).all() and torch.isfinite(before).all()):
        nan = float("nan")
        return Departure(n, k, nan, nan, nan, nan, [nan] * k, nan)
    explained, unedited, influence = [], [], torch.empty(n, dtype=torch.float64)
    for held_out in (half, ~half):
        basis = principal(before[~held_out], k)
        share, own = _explained(now[held_out], basis)
        share_before, own_before = _explained(before[held_out], basis)
        explained.append(share)
        unedited.append(share_before)
        influence[held_out] = own - own_before
    spread = (before - before.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    shift = (now.mean(dim=0) - before.mean(dim=0)).norm()
    ends, starts = sum(explained) / 2, sum(unedited) / 2
    return Departure(
        n,
        k,
        ends,
        starts,
        ends - starts,
        influence.std().item(),
        principal_angles(principal(now, k), principal(before, k)),
        (shift / spread).item() if spread > 0 else float("nan"),
    )


def principal_angles(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    """Principal angles in degrees, ascending, of subspaces with orthonormal bases [d, k] (Bjorck and Golub 1973)."""
    cosines = torch.linalg.svdvals(first.T @ second).clamp(max=1.0)
    # Small angles are lost in their cosine: they come from the sine of what is left outside.
    sines = torch.linalg.svdvals(second - first @ (first.T @ second)).clamp(max=1.0).flip(0)
    angles = torch.where(cosines.square() < 0.5, cosines.acos(), sines[: len(cosines)].asin())
    return torch.rad2deg(angles).tolist()


def _explained(vectors: torch.Tensor, basis: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Share of the vectors' variance inside `basis`, and each vector's influence on it (mean zero)."""
    centred = vectors - vectors.mean(dim=0)
    inside, whole = (centred @ basis).square().sum(dim=1), centred.square().sum(dim=1)
    total = whole.mean()
    if total == 0:
        return float("nan"), torch.full_like(whole, torch.nan)
    share = inside.mean() / total
    return share.item(), (inside - share * whole) / total
