"""Norm, direction, subspace and alignment of activations, compared with those of the unedited model.

One pass over the layers makes four tables, so that no model is run twice and few activations are in memory.

Alignment is linear centred kernel alignment (CKA; Kornblith et al. 2019, arXiv 1905.00414). It is 1 for sets that
differ by a rotation and a scaling, so it is blind to growth and shrinking: read it beside the norm. The
plain form is biased towards 1 where there are fewer probes than dimensions; the one used here replaces HSIC by its
unbiased estimator (Song et al. 2012; Nguyen et al. 2020, arXiv 2010.15327, eq. 3), whose CKA is near 0 for unrelated
sets.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.measure.activations import Activations, Where, activations_on, layer_groups
from normgrowth.measure.point import Point
from normgrowth.measure.subspaces import Departure, departure, principal

PICTURED = (("residual", "text", "mean"), ("residual", "facts", "last"))
"""Site, probe and token of the activations whose 2-D coordinates are kept."""

MAPPED = ("residual", "text", "mean")
"""Site, probe and token of the map of every layer against every layer."""

FEWEST = 4
"""Probes below which the unbiased estimator of HSIC does not exist."""


def measure(point: Point) -> dict[str, pd.DataFrame]:
    """Tables `activations`, `subspaces`, `coordinates` and `cka`, a few layers at a time."""
    lm, probes = point.lm, point.material.probes(point.lm)

    def pairs() -> Iterator[tuple[Activations, Activations]]:
        for layers in layer_groups(lm, probes):
            with point.undone():
                before = activations_on(lm, probes, layers)
            # At step 0 nothing is edited, and a second pass would only give the same again.
            yield (activations_on(lm, probes, layers) if point.edited else before), before

    return compare_activations(pairs(), point.material.measure.components)._asdict()


class Geometry(NamedTuple):
    """Tables `activations`, `subspaces`, `coordinates` and `cka`, without the identity columns."""

    activations: pd.DataFrame
    subspaces: pd.DataFrame
    coordinates: pd.DataFrame
    cka: pd.DataFrame


def compare_activations(pairs: Iterable[tuple[Activations, Activations]], components: int) -> Geometry:
    """Comparison of the model's activations with the unedited model's.

    Args:
        pairs: activations now, and of the unedited model at the same places; each pair holds some of the layers.
        components: principal components that make up a subspace.

    Returns:
        Rows with the place (`probe, token, layer, site`) and, in `activations`, the columns of `compare_norms`; in
        `subspaces`, those of `Departure`; in `coordinates`, one row per vector: `number, pc1, pc1_share, pc2,
        pc2_share`; in `cka`: `unedited_layer, n, cka`.
    """
    norms, subspaces, coordinates, alignments = [], [], [], []
    mapped_now: dict[int, Centred] = {}
    mapped_before: dict[int, Centred] = {}
    for now, before in pairs:
        for where, vectors in now.items():
            unedited, place = before[where], where._asdict()
            residual = now[where._replace(site="residual")]
            norms.append(place | compare_norms(where, vectors, unedited, residual))
            subspaces.append(place | _columns_of(departure(vectors, unedited, components, where.per_probe)))
            sets = Centred.of(vectors), Centred.of(unedited)
            same = {"unedited_layer": where.layer, "n": len(vectors), "cka": cka(*sets)}
            alignments.append(place | same)
            kind = (where.site, where.probe, where.token)
            if kind in PICTURED:
                coordinates.append(_coordinates(vectors, unedited).assign(**place))
            if kind == MAPPED:
                mapped_now[where.layer], mapped_before[where.layer] = sets
    alignments += _between_layers(mapped_now, mapped_before)
    return Geometry(pd.DataFrame(norms), pd.DataFrame(subspaces), pd.concat(coordinates), pd.DataFrame(alignments))


def compare_norms(
    where: Where, now: torch.Tensor, before: torch.Tensor, residual: torch.Tensor
) -> dict[str, int | float | None]:
    """Norm and direction of activations, as the values of a row of table `activations`.

    Standard deviations (but `norm_std`) are over units, which are prompts or windows: the vectors of one window share
    its context, so their mean counts as one value. A deviation over sqrt(units) is the standard error of the mean.

    Args:
        now, before: the activations [n, width] of the model and of the unedited one; those of one unit are consecutive.
        residual: the residual stream [n, hidden] of the model at the same layer and tokens.
    """
    norm, norm_before = now.norm(dim=1), before.norm(dim=1)  # [n], as ratio and cosine
    ratio = norm / norm_before
    ratio_of_means = norm.mean() / norm_before.mean()
    cosine = torch.nn.functional.cosine_similarity(now, before, dim=1)
    # Keys have another width and are not part of the stream.
    share = None if where.site == "mlp_key" else (norm / residual.norm(dim=1)).mean().item()
    return {
        "n": len(now),
        "units": len(now) // where.per_probe,
        "norm_mean": norm.mean().item(),
        "norm_std": _spread(norm),
        "norm_ratio": ratio.mean().item(),
        "norm_ratio_std": _spread(ratio, where.per_probe),
        "ratio_of_norms": ratio_of_means.item(),
        # A ratio of means varies as the mean of (x - R y) / mean(y), to first order.
        "ratio_of_norms_std": _spread((norm - ratio_of_means * norm_before) / norm_before.mean(), where.per_probe),
        "cosine_to_unedited": cosine.mean().item(),
        "cosine_std": _spread(cosine, where.per_probe),
        "share_of_residual": share,
    }


def _spread(values: torch.Tensor, per_unit: int = 1) -> float:
    """Standard deviation over units of the means of their values [units * per_unit]; NaN for a single unit."""
    means = values.view(-1, per_unit).mean(dim=1)
    return means.std().item() if len(means) > 1 else float("nan")


def _columns_of(left: Departure) -> dict[str, int | float | list[float]]:
    """A departure under the names of table `subspaces`."""
    return {
        "n": left.n,
        "units": left.units,
        "width": left.width,
        "components": left.components,
        "explained_variance": left.explained,
        "explained_variance_unedited": left.explained_unedited,
        "explained_change": left.change,
        "explained_change_std": left.change_std,
        "explained_uncentred": left.explained_uncentred,
        "departure": left.degree,
        "departure_std": left.degree_std,
        "departure_uncentred": left.degree_uncentred,
        "departure_uncentred_std": left.degree_uncentred_std,
        "principal_angles": left.angles,
        "centroid_shift": left.centroid_shift,
    }


def _coordinates(now: torch.Tensor, before: torch.Tensor) -> pd.DataFrame:
    """Principal coordinates of vectors `now` [n, d] in the plane of `before` [n, d], the unedited model's vectors.

    Fewer than three vectors span no plane: missing coordinates are 0.

    Returns:
        One row per vector: `number, pc1, pc1_share, pc2, pc2_share`; shares are of the variance of `before`.
    """
    now, before = now.double(), before.double()
    centred = before - before.mean(dim=0)
    plane = principal(before, 2)
    plane = torch.cat([plane, plane.new_zeros(len(plane), 2 - plane.shape[1])], dim=1)  # [d, 2]
    shares = (centred @ plane).square().sum(dim=0) / centred.square().sum()
    placed = (now - before.mean(dim=0)) @ plane  # [n, 2]
    columns: dict[str, object] = {"number": range(len(now))}
    for i, name in enumerate(("pc1", "pc2")):
        columns |= {name: placed[:, i].tolist(), f"{name}_share": shares[i].item()}
    return pd.DataFrame(columns)


class Centred(NamedTuple):
    """A set of activations X [n, d] about its mean, in float64, in the smaller of two forms.

    Either gives the squared norm of X^T Y, which is the inner product of the kernel matrices X X^T and Y Y^T.
    """

    vectors: torch.Tensor | None  # X [n, d], where n > d
    kernel: torch.Tensor | None  # X X^T [n, n], elsewhere
    squares: torch.Tensor  # squared norm of each vector [n], the kernel's diagonal

    @classmethod
    def of(cls, activations: torch.Tensor) -> "Centred":
        """The set of activations [n, d]."""
        vectors = activations.double() - activations.double().mean(dim=0)
        squares = vectors.square().sum(dim=1)
        if len(vectors) > vectors.shape[1]:
            return cls(vectors, None, squares)
        return cls(None, vectors @ vectors.T, squares)

    def inner(self, other: "Centred") -> float:
        """The inner product of the kernel matrices of two sets of the same form."""
        if self.vectors is not None and other.vectors is not None:
            return (self.vectors.T @ other.vectors).square().sum().item()
        if self.kernel is not None and other.kernel is not None:
            return (self.kernel * other.kernel).sum().item()
        raise ValueError(f"sets of {len(self.squares)} vectors differ in width: one has fewer dimensions than vectors")


def hsic(first: Centred, second: Centred) -> float:
    """Unbiased estimator of HSIC (Nguyen et al. 2020, arXiv 2010.15327, eq. 3), times n (n - 3).

    With K the kernel matrix of one set, k its diagonal, and L, l those of the other, both about their mean, so that
    rows of K and L sum to 0, the estimator's terms are

        tr(K L) - k.l  +  (1.k) (1.l) / ((n - 1) (n - 2))  -  2 k.l / (n - 2)
    """
    n, k, l = len(first.squares), first.squares, second.squares  # noqa: E741  # as in the formula
    diagonals = (k @ l).item()
    sums = (k.sum() * l.sum()).item()
    return first.inner(second) - diagonals + sums / ((n - 1) * (n - 2)) - 2 * diagonals / (n - 2)


def cka(first: Centred, second: Centred) -> float:
    """Debiased linear CKA of two sets of activations of the same n probes.

    NaN with fewer than four probes, and where a set does not vary or is not finite.
    """
    if len(first.squares) < FEWEST:
        return float("nan")
    own, other = hsic(first, first), hsic(second, second)
    return hsic(first, second) / (own * other) ** 0.5 if own > 0 and other > 0 else float("nan")


def _between_layers(now: dict[int, Centred], before: dict[int, Centred]) -> list[dict[str, object]]:
    """Rows of table `cka` for every layer now against every other one of the unedited model."""
    site, probe, token = MAPPED
    return [
        Where(probe, token, layer, site)._asdict()
        | {"unedited_layer": other, "n": len(edited.squares), "cka": cka(edited, unedited)}
        for layer, edited in now.items()
        for other, unedited in before.items()
        if other != layer
    ]
