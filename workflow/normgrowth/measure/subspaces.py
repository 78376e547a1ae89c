"""Principal subspaces of activations: does the unedited model's still describe the edited model's?

A basis fits the sample it was drawn from better than any other, so shares of variance are cross-fitted: components come
from one half of the probes, shares from the other, for both models alike. Without that, an edited model that changes
nothing but the sample would seem to have left its subspace.
"""

from typing import NamedTuple

import torch


class Departure(NamedTuple):
    """Departure of activations from the unedited model's principal subspace. NaN where there is no number.

    `change` is `explained` minus `explained_unedited`. `explained_uncentred` is the same share about the unedited mean
    instead of the activations' own, so that activations that were only shifted have left too. `degree` puts these
    shares on a scale on which 0 is the unedited model and 1 a subspace that is independent of it: k random dimensions
    out of d hold a share k / d of any variance on average, so

        degree = (explained_unedited - explained) / (explained_unedited - k / d).

    A `std` over sqrt(units) is a standard error, units being independent. `angles` are the principal angles between the
    two models' top-k subspaces, in degrees, ascending. `centroid_shift` is the distance of the means in units of the
    unedited spread (root mean square distance from the mean).
    """

    n: int
    units: int
    width: int
    components: int
    explained: float
    explained_unedited: float
    change: float
    change_std: float
    explained_uncentred: float
    degree: float
    degree_std: float
    degree_uncentred: float
    degree_uncentred_std: float
    angles: list[float]
    centroid_shift: float


class _Shares(NamedTuple):
    """Shares of variance inside a basis, of both models, and each vector's influence on them [n]."""

    now: float
    before: float
    influence_now: torch.Tensor
    influence_before: torch.Tensor


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
        # Directions beyond the vectors' rank are noise and must not be scaled to unit length.
        least = squares[-1].clamp(min=torch.finfo(squares.dtype).tiny) * 1e-14
        components = components / squares[-k:].flip(0).clamp(min=least).sqrt()
    else:
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -k:].flip(1)
    largest = components.abs().argmax(dim=0)
    return components * components.gather(0, largest[None, :]).sign()


def departure(now: torch.Tensor, before: torch.Tensor, k: int, groups: int = 1) -> Departure:
    """Departure of activations now [n, d] from the principal subspace of those before, of the same probes.

    Args:
        k: principal components; at most a third of a half's number of probes, so that both halves determine them.
        groups: consecutive rows that belong together (one window's): they fall into the same half, and are one unit.
    """
    now, before = now.double(), before.double()
    n, width = before.shape
    k = max(1, min(k, n // 6, width - 1))
    half = (torch.arange(n) // groups) % 2 == 0  # [n]
    if n < 4 or half.all() or not bool(torch.isfinite(now).all() and torch.isfinite(before).all()):
        return _no_number(n, n // groups, width, k)
    bases = principal(before[~half], k), principal(before[half], k)  # of the unedited model, for the other half each
    centred = _cross_fitted(now, before, half, bases, about_unedited_mean=False)
    uncentred = _cross_fitted(now, before, half, bases, about_unedited_mean=True)
    spread = (before - before.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    shift = (now.mean(dim=0) - before.mean(dim=0)).norm()
    degree, degree_std = _degree(centred, k / width, groups)
    degree_uncentred, degree_uncentred_std = _degree(uncentred, k / width, groups)
    return Departure(
        n=n,
        units=n // groups,
        width=width,
        components=k,
        explained=centred.now,
        explained_unedited=centred.before,
        change=centred.now - centred.before,
        change_std=_spread(centred.influence_now - centred.influence_before, groups),
        explained_uncentred=uncentred.now,
        degree=degree,
        degree_std=degree_std,
        degree_uncentred=degree_uncentred,
        degree_uncentred_std=degree_uncentred_std,
        angles=principal_angles(principal(now, k), principal(before, k)),
        centroid_shift=(shift / spread).item() if spread > 0 else float("nan"),
    )


def _no_number(n: int, units: int, width: int, k: int) -> Departure:
    """The departure of activations that are too few or not finite."""
    nan = float("nan")
    return Departure(n, units, width, k, nan, nan, nan, nan, nan, nan, nan, nan, nan, [nan] * k, nan)


def _cross_fitted(
    now: torch.Tensor,
    before: torch.Tensor,
    half: torch.Tensor,
    bases: tuple[torch.Tensor, torch.Tensor],
    about_unedited_mean: bool,
) -> _Shares:
    """Shares of variance inside the unedited components of the other half, averaged over both halves.

    Args:
        half: True for the vectors [n] of the first half.
        bases: components [d, k] that the first half is held against, from the second, and the other way round.
        about_unedited_mean: take variance about the unedited mean of that other half instead of each one's own.
    """
    shares: list[tuple[float, float]] = []
    influences = torch.empty(2, len(now), dtype=torch.float64)
    for held_out, basis in zip((half, ~half), bases, strict=True):
        origin = before[~held_out].mean(dim=0) if about_unedited_mean else None
        found = []
        for influence, vectors in zip(influences, (now[held_out], before[held_out]), strict=True):
            share, influence[held_out] = _explained(vectors, basis, origin)
            found.append(share)
        shares.append((found[0], found[1]))
    ends, starts = (sum(part) / 2 for part in zip(*shares, strict=True))
    return _Shares(ends, starts, *influences)


def _degree(shares: _Shares, by_chance: float, groups: int) -> tuple[float, float]:
    """The degree of departure and its standard deviation over units, by the delta method."""
    kept = shares.before - by_chance
    if not kept > 0:
        return float("nan"), float("nan")
    degree = (shares.before - shares.now) / kept
    influence = (1 - degree) * shares.influence_before - shares.influence_now
    return degree, _spread(influence / kept, groups)


def _spread(influence: torch.Tensor, groups: int) -> float:
    """Standard deviation over units of the means of their vectors' influence [n]."""
    return influence.view(-1, groups).mean(dim=1).std().item()


def principal_angles(first: torch.Tensor, second: torch.Tensor) -> list[float]:
    """Principal angles in degrees, ascending, of subspaces with orthonormal bases [d, k] (Bjorck and Golub 1973)."""
    cosines = torch.linalg.svdvals(first.T @ second).clamp(max=1.0)
    # The cosine of a small angle loses its digits, so small angles come from the sine of the part outside.
    sines = torch.linalg.svdvals(second - first @ (first.T @ second)).clamp(max=1.0).flip(0)
    angles = torch.where(cosines.square() < 0.5, cosines.acos(), sines[: len(cosines)].asin())
    return torch.rad2deg(angles).tolist()


def _explained(vectors: torch.Tensor, basis: torch.Tensor, origin: torch.Tensor | None) -> tuple[float, torch.Tensor]:
    """Share of the variance of vectors [n, d] inside `basis` [d, k], and each vector's influence on it [n] (mean zero).

    Args:
        origin: point about which variance is taken; the vectors' own mean by default.
    """
    centred = vectors - (vectors.mean(dim=0) if origin is None else origin)
    inside, whole = (centred @ basis).square().sum(dim=1), centred.square().sum(dim=1)  # [n]
    total = whole.mean()
    if total == 0:
        return float("nan"), torch.full_like(whole, torch.nan)
    share = inside.mean() / total
    return share.item(), (inside - share * whole) / total
