"""Leading singular values of watched matrices, and how far their leading singular subspaces have turned.

Growth of the norm and rotation of the dominant directions are rival explanations of why edited models fail, so both are
measured on the same matrices, edited ones and others.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.point import Point
from normgrowth.seeds import derive

OVERSAMPLING = 8
"""Columns of the random block beyond the wanted triples."""

PASSES = 20
"""Multiplications by W^T W: Krylov subspaces converge with the square root of the gap, so few are needed even where
singular values lie close together (Musco and Musco 2015, arXiv 1504.05477). Of a random 1024 x 4096 matrix, the worst
case, singular values come out to a relative 1e-7 and their subspaces to a hundredth of a degree."""


def measure(point: Point) -> dict[str, pd.DataFrame]:
    """Table `spectra` of the watched matrices."""
    rank = point.material.measure.singular_values
    with point.undone():
        unedited = leading_of(watched(point.lm), rank)
    return {"spectra": compare_spectra(point.lm, rank, unedited, point.edited)}


class Leading(NamedTuple):
    """The k largest singular values [k] of a matrix [m, n], and its singular vectors [m, k] and [n, k]."""

    values: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor


def leading(matrix: torch.Tensor, k: int, seed: int = 0) -> Leading:
    """The k leading singular triples of a matrix [m, n], in float64, by a randomized block Krylov method.

    The subspace spanned by G, (A^T A) G, ..., (A^T A)^q G of a random block G holds the leading right singular vectors;
    a small SVD inside it gives the triples. Where that subspace would be the whole space, the SVD is a full one.

    Args:
        k: triples wanted; at most as many as the smaller side come back.
        seed: seed of the random block.
    """
    matrix = matrix.double()
    smaller = min(matrix.shape)
    k = min(k, smaller)
    block = k + OVERSAMPLING
    if block * (PASSES + 1) >= smaller:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return Leading(values[:k], left[:, :k], right[:k].T)
    generator = torch.Generator().manual_seed(derive(seed, "spectra", *matrix.shape))
    directions = torch.randn(matrix.shape[1], block, generator=generator, dtype=torch.float64).to(matrix.device)
    directions = torch.linalg.qr(directions).Q  # [n, block]
    blocks = [directions]
    for _ in range(PASSES):
        directions = torch.linalg.qr(matrix.T @ (matrix @ directions)).Q
        blocks.append(directions)
    basis = torch.linalg.qr(torch.cat(blocks, dim=1)).Q  # [n, block * (PASSES + 1)]
    left, values, right = torch.linalg.svd(matrix @ basis, full_matrices=False)
    return Leading(values[:k], left[:, :k], basis @ right[:k].T)


def rotation(now: torch.Tensor, before: torch.Tensor) -> float:
    """Angle in degrees between two subspaces with orthonormal bases [d, k]: 0 for the same one, 90 for orthogonal ones.

    arccos of the root mean square of the cosines of their principal angles.
    """
    shared = torch.linalg.matrix_norm(now.T @ before).item() / now.shape[1] ** 0.5
    return torch.rad2deg(torch.tensor(min(shared, 1.0), dtype=torch.float64).acos()).item()


def watched(lm: LanguageModel) -> list[Projection]:
    """The MLP down-projections and attention output projections, which `runs.telemetry` follows too."""
    return [*lm.anatomy.down_projections, *lm.anatomy.attention_outputs]


def leading_of(matrices: Iterable[Projection], k: int) -> dict[str, Leading]:
    """The leading singular triples of every finite matrix under the current weights, by its parameter's name."""
    return {p.name: leading(p.matrix, k) for p in matrices if bool(torch.isfinite(p.matrix).all())}


def compare_spectra(
    lm: LanguageModel, k: int, unedited: dict[str, Leading], edited: Collection[Projection]
) -> pd.DataFrame:
    """Spectra of the watched matrices, compared with those of the unedited model.

    Args:
        k: singular values of each matrix.
        unedited: `leading_of` the watched matrices of the unedited model; it still holds for those not in `edited`,
            which are not decomposed again.

    Returns:
        Table `spectra` without the names of the run, one row per matrix: `matrix, layer, spectral_norm, stable_rank,
        singular_values` (a list), `left_rotation, right_rotation` (degrees). A matrix that is no longer finite has a
        row of NaN.
    """
    changed = {p.name for p in edited}
    now = {name: spectrum for name, spectrum in unedited.items() if name not in changed} | leading_of(edited, k)
    return pd.DataFrame([_row(p, now.get(p.name), unedited[p.name]) for p in watched(lm)])


def _row(projection: Projection, now: Leading | None, before: Leading) -> dict:
    row = {"matrix": projection.name, "layer": projection.layer}
    if now is None:
        nan = float("nan")
        return row | {
            "spectral_norm": nan,
            "stable_rank": nan,
            "singular_values": [nan] * len(before.values),
            "left_rotation": nan,
            "right_rotation": nan,
        }
    largest = now.values[0].item()
    return row | {
        "spectral_norm": largest,
        "stable_rank": (frobenius(projection.matrix) / largest) ** 2 if largest else float("nan"),
        "singular_values": now.values.tolist(),
        "left_rotation": rotation(now.left, before.left),
        "right_rotation": rotation(now.right, before.right),
    }
