"""Readers of resources gathered before a run, which refuse those made for another model or with other settings."""

from collections.abc import Iterable
from pathlib import Path

import torch

from normgrowth.editors.base import Trajectory
from normgrowth.editors.moments import RELATIVE_THRESHOLD, NullSpace, SecondMoment
from normgrowth.editors.settings import GRADIENT_MOMENTS, HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS
from normgrowth.errors import ArtefactError
from normgrowth.io.documents import read_json
from normgrowth.io.identity import AGAIN, require, require_rows
from normgrowth.io.tables import read_table_and_provenance
from normgrowth.io.tensors import read_tensors
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import SLOT

TEMPLATE_SETS = ("uniform", "grouped")


def read_contexts(path: Path, of: dict) -> dict[str, list[str]]:
    """Context templates, by the name of their set.

    Args:
        of: what they must be sampled with: model revision, seed.

    Raises:
        ArtefactError: when they are damaged, of another model or seed, or no templates.
    """
    held = read_json(path)
    if not isinstance(held, dict):
        raise ArtefactError(f"{path} holds no context templates: it is no JSON object; {AGAIN}")
    require(path, held, of)
    templates = held.get("templates")
    if not isinstance(templates, dict) or not all(
        isinstance(texts := templates.get(name), list) and texts and all(map(_is_template, texts))
        for name in TEMPLATE_SETS
    ):
        raise ArtefactError(
            f"{path} holds no context templates: lists {' and '.join(TEMPLATE_SETS)} of texts with one {SLOT} each are "
            f"asked for; {AGAIN}"
        )
    return templates


def _is_template(text: object) -> bool:
    return isinstance(text, str) and text.count(SLOT) == 1


def read_second_moments(path: Path, of: dict, lm: LanguageModel, layers: Iterable[int]) -> dict[int, SecondMoment]:
    """Second moments by layer.

    Args:
        of: what they must be gathered with: model revision, seed.
        layers: those that are needed.

    Raises:
        ArtefactError: when they were gathered with something else, at other layers, or for keys of another width.
    """
    found = _read_moments(path, SECOND_MOMENTS, of, lm, layers)
    _of_this_width(path, {layer: len(moment.moment) for layer, moment in found.items()}, lm)
    return found


def read_gradient_moments(path: Path, of: dict, lm: LanguageModel, layers: Iterable[int]) -> dict[int, SecondMoment]:
    """Second moments of the gradients at the outputs, by layer; see `read_second_moments`.

    Raises:
        ArtefactError: when they were gathered with something else, at other layers, or for outputs of another width.
    """
    found = _read_moments(path, GRADIENT_MOMENTS, of, lm, layers)
    for layer, moment in found.items():
        if len(moment.moment) != lm.anatomy.hidden_size:
            raise ArtefactError(
                f"{path} is for outputs of width {len(moment.moment)} at layer {layer}, where the model has "
                f"{lm.anatomy.hidden_size}; {AGAIN}"
            )
    return found


def _read_moments(path: Path, kind: str, of: dict, lm: LanguageModel, layers: Iterable[int]) -> dict[int, SecondMoment]:
    tensors, metadata = read_tensors(path, kind, str(lm.device))
    require(path, metadata, of)
    _at_these_layers(path, metadata["layers"], layers)
    return {layer: SecondMoment(tensors[f"moment.{layer}"], metadata["count"], layer) for layer in metadata["layers"]}


def read_null_spaces(
    path: Path, of: dict, lm: LanguageModel, layers: Iterable[int], threshold: float | None
) -> dict[int, NullSpace]:
    """Null spaces by layer.

    Args:
        of: what their second moments must be gathered with: model revision, seed.
        layers: those that are needed.

    Raises:
        ArtefactError: when they were made for something else, other layers, another width or threshold.
    """
    tensors, metadata = read_tensors(path, NULL_SPACES, str(lm.device))
    require(path, metadata, of)
    _at_these_layers(path, metadata["layers"], layers)
    if metadata["threshold"] != threshold:
        raise ArtefactError(
            f"{path} was made with null_space_threshold {metadata['threshold']}, not {threshold}; {AGAIN}"
        )
    relative = RELATIVE_THRESHOLD if threshold is None else None
    if metadata.get("relative_threshold") != relative:
        raise ArtefactError(f"{path} was made by another version of the package, with another default; {AGAIN}")
    spaces = {
        layer: NullSpace(
            tensors[f"basis.{layer}"],
            metadata["spans_range"][str(layer)],
            layer,
            metadata["mean_square"][str(layer)],
        )
        for layer in metadata["layers"]
    }
    _of_this_width(path, {layer: len(space.basis) for layer, space in spaces.items()}, lm)
    return spaces


def read_hypernetwork(path: Path, of: dict, lm: LanguageModel) -> dict[str, torch.Tensor]:
    """Trained tensors of a hypernetwork.

    Args:
        of: what it must be trained with: model revision, kind of editor, settings, seed, facts.

    Raises:
        ArtefactError: when it was trained with something else.
    """
    tensors, metadata = read_tensors(path, HYPERNETWORK, str(lm.device))
    settings = of.get("settings", {})
    require(path, metadata, {name: value for name, value in of.items() if name != "settings"})
    # One by one, so that the message says which differs.
    require(path, metadata["settings"], settings)
    return tensors


def read_trajectory(path: Path, identity: dict, of: dict, layers: Iterable[int]) -> Trajectory:
    """The norms of a recorded run at each step of a segment.

    Args:
        identity: study, model, editor and order that must have been recorded.
        of: what else the table must say of itself: segment, model revision, facts, seed.

    Raises:
        ArtefactError: when the table is of another run or segment, or a layer was not edited in that run.
    """
    rows, said = read_table_and_provenance(path, "norms")
    require_rows(path, rows, said, identity)
    require(path, said, of)
    edited = rows[rows["role"] == "edited"]
    for layer in layers:
        if layer not in set(edited["layer"]):
            raise ArtefactError(f"{path} records no edits of layer {layer}; {AGAIN}")
    trajectory: Trajectory = {}
    for step, layer, ratio, change in edited[["step", "layer", "frobenius_ratio", "delta_frobenius"]].itertuples(
        index=False
    ):
        trajectory.setdefault(int(step), {})[int(layer)] = (float(ratio), float(change))
    return trajectory


def _at_these_layers(path: Path, held: list[int], layers: Iterable[int]) -> None:
    if missing := [layer for layer in layers if layer not in held]:
        there = ", ".join(map(str, held))
        raise ArtefactError(f"{path} holds layers {there}, and not {', '.join(map(str, missing))}; {AGAIN}")


def _of_this_width(path: Path, widths: dict[int, int], lm: LanguageModel) -> None:
    for layer, width in widths.items():
        if layer >= len(lm.anatomy.down_projections):
            raise ArtefactError(f"{path} is for layer {layer}, which the model does not have; {AGAIN}")
        keys = lm.anatomy.down_projections[layer].matrix.shape[1]
        if width != keys:
            raise ArtefactError(
                f"{path} is for keys of width {width} at layer {layer}, where the model has {keys}; {AGAIN}"
            )
