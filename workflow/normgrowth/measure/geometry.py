"""How the activations of an edited model compare with the unedited model's: norm, direction, subspace, alignment.

One pass over the layers makes four tables, so that no model need be run twice and activations never pile up.
"""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.measure.activations import Activations, Where, compare_norms
from normgrowth.measure.cka import cka_of_grams, gram, unbiased
from normgrowth.measure.subspaces import departure, principal

PICTURED = (("residual", "text", "mean"), ("residual", "facts", "last"))
"""Site, probe and token of the activations whose 2-D coordinates are kept."""

MAPPED = ("residual", "text", "mean")
"""Site, probe and token of the map of every layer against every layer."""


class Geometry(NamedTuple):
    """The tables (without names of the run)."""

    activations: pd.DataFrame
    subspaces: pd.DataFrame
    coordinates: pd.DataFrame
    cka: pd.DataFrame


def compare_activations(pairs: Iterable[tuple[Activations, Activations]], components: int) -> Geometry:
    """The tables of pairs (activations now, of the unedited model), each pair of some layers; together of all layers.

    Args:
        components: principal components that make up a subspace.
    """
    norms, subspaces, coordinates, alignments = [], [], [], []
    maps: tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]] = ({}, {})
    for now, before in pairs:
        for where, vectors in now.items():
            unedited, place = before[where], where._asdict()
            residual = now[where._replace(site="residual")]
            norms.append(place | compare_norms(where, vectors, unedited, residual))
            subspaces.append(place | _subspace(where, vectors, unedited, components))
            kernels = _kernel(vectors), _kernel(unedited)
            same = {"unedited_layer": where.layer, "n": len(vectors), "cka": cka_of_grams(*kernels)}
            alignments.append(place | same)
            kind = (where.site, where.probe, where.token)
            if kind in PICTURED:
                coordinates.append(_coordinates(vectors, unedited).assign(**place))
            if kind == MAPPED:
                for kept, kernel in zip(maps, kernels, strict=True):
                    kept[where.layer] = kernel
    return Geometry(*map(pd.DataFrame, (norms, subspaces)), pd.concat(coordinates), _with_map(alignments, *maps))


def _subspace(where: Where, now: torch.Tensor, before: torch.Tensor, components: int) -> dict:
    left = departure(now, before, components, where.per_probe)
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


def _kernel(vectors: torch.Tensor) -> torch.Tensor:
    return unbiased(gram(vectors))


def _coordinates(now: torch.Tensor, before: torch.Tensor) -> pd.DataFrame:
    """Both principal coordinates of each vector, in the unedited model's plane, and the plane's shares of variance.

    Fewer than three vectors span no plane: the coordinates that are missing are 0.
    """
    now, before = now.double(), before.double()
    centred = before - before.mean(dim=0)
    plane = principal(before, 2)
    plane = torch.cat([plane, plane.new_zeros(len(plane), 2 - plane.shape[1])], dim=1)
    shares = (centred @ plane).square().sum(dim=0) / centred.square().sum()
    placed = (now - before.mean(dim=0)) @ plane
    columns = {"number": range(len(now))}
    for i, name in enumerate(("pc1", "pc2")):
        columns |= {name: placed[:, i].tolist(), f"{name}_share": shares[i].item()}
    return pd.DataFrame(columns)


def _with_map(alignments: list[dict], now: dict[int, torch.Tensor], before: dict[int, torch.Tensor]) -> pd.DataFrame:
    """The rows of equal layers, and those of different ones where the map is kept."""
    site, probe, token = MAPPED
    for layer, kernel in now.items():
        for other, unedited in before.items():
            if other != layer:
                where = Where(probe, token, layer, site)._asdict() | {"unedited_layer": other, "n": len(kernel)}
                alignments.append(where | {"cka": cka_of_grams(kernel, unedited)})
    return pd.DataFrame(alignments)
