"""Reading what was gathered before a run, and refusing what was gathered for something else."""

from pathlib import Path

import torch

from normgrowth.artefacts.tables import read_table
from normgrowth.artefacts.tensors import read_tensors
from normgrowth.assets.manifest import revision
from normgrowth.editors.interface import Trajectory
from normgrowth.editors.null_space import RELATIVE_THRESHOLD, NullSpace
from normgrowth.editors.second_moment import SecondMoment
from normgrowth.editors.settings import HYPERNETWORK, NULL_SPACES, SECOND_MOMENTS, EditorSettings
from normgrowth.errors import ArtefactError
from normgrowth.language_model import LanguageModel

AGAIN = "delete it and run the workflow again"


def read_second_moments(path: Path, model: Path, lm: LanguageModel) -> dict[int, SecondMoment]:
    """Second moments by layer.

    Raises:
        ArtefactError: when they were gathered on another model, or for keys of another width.
    """
    tensors, metadata = read_tensors(path, SECOND_MOMENTS, str(lm.device))
    _of_this_model(path, metadata, model)
    moments = {layer: tensors[f"moment.{layer}"] for layer in metadata["layers"]}
    _of_this_width(path, {layer: len(moment) for layer, moment in moments.items()}, lm)
    return {layer: SecondMoment(moment, metadata["count"], layer) for layer, moment in moments.items()}


def read_null_spaces(path: Path, model: Path, lm: LanguageModel, threshold: float | None) -> dict[int, NullSpace]:
    """Null spaces by layer.

    Raises:
        ArtefactError: when they were made for another model, width or threshold.
    """
    tensors, metadata = read_tensors(path, NULL_SPACES, str(lm.device))
    _of_this_model(path, metadata, model)
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


def read_hypernetwork(path: Path, model: Path, lm: LanguageModel, settings: EditorSettings) -> dict[str, torch.Tensor]:
    """Trained tensors of a hypernetwork.

    Raises:
        ArtefactError: when it was trained for another model or with other settings, layers among them.
    """
    tensors, metadata = read_tensors(path, HYPERNETWORK, str(lm.device))
    _of_this_model(path, metadata, model)
    for name, value in settings.model_dump(mode="json").items():
        if metadata["settings"].get(name) != value:
            raise ArtefactError(
                f"{path} was trained with {name} {metadata['settings'].get(name)}, not {value}; {AGAIN}"
            )
    return tensors


def read_trajectory(paths: list[Path], layers: tuple[int, ...]) -> Trajectory:
    """The norms of a recorded run at each step, from the tables of its segments.

    Raises:
        ArtefactError: when a layer was not edited in that run.
    """
    trajectory: Trajectory = {}
    for path in paths:
        rows = read_table(path, "norms")
        edited = rows[rows["role"] == "edited"]
        for layer in layers:
            if layer not in set(edited["layer"]):
                raise ArtefactError(f"{path} records no edits of layer {layer}; {AGAIN}")
        for step, layer, ratio, change in edited[["step", "layer", "frobenius_ratio", "delta_frobenius"]].itertuples(
            index=False
        ):
            trajectory.setdefault(int(step), {})[int(layer)] = (float(ratio), float(change))
    return trajectory


def _of_this_model(path: Path, metadata: dict, model: Path) -> None:
    if metadata["model"] != revision(model):
        raise ArtefactError(
            f"{path} was made on a model with revision {metadata['model']}, but {model} has {revision(model)}; {AGAIN}"
        )


def _of_this_width(path: Path, widths: dict[int, int], lm: LanguageModel) -> None:
    for layer, width in widths.items():
        keys = lm.anatomy.down_projections[layer].matrix.shape[1]
        if width != keys:
            raise ArtefactError(
                f"{path} is for keys of width {width} at layer {layer}, where the model has {keys}; {AGAIN}"
            )
