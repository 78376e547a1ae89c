"""Measurements at one checkpoint of a run."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth.io.columns import MEASURES
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.material import Material, require_material
from normgrowth.measure.point import Point
from normgrowth.runs.state import EditedModel


class Checkpoint(NamedTuple):
    """A point of a run: the unedited model, or the model after some of the run's segments."""

    step: int  # edits applied
    chain: Path | None  # the run's folder; None for the unedited model
    segments: int  # that lead to the checkpoint
    expected: Mapping[str, object]  # metadata that the run's states must carry


def measure_checkpoint(lm: LanguageModel, material: Material, checkpoint: Checkpoint) -> dict[str, pd.DataFrame]:
    """Tables of everything measured at a checkpoint.

    Args:
        lm: the unedited model; it is brought to the checkpoint in place.

    Returns:
        The tables `io.columns.CHECKPOINT_TABLES` by name, with all their columns but the identity columns.

    Raises:
        ModelError: when probes or texts are longer than the model's context.
        FactError: naming the case whose prompt is too long.
        ArtefactError: when a state is missing, damaged or of another run.
    """
    chain = checkpoint.chain or Path()  # without segments no folder is read
    edited = EditedModel(lm, chain, checkpoint.segments, checkpoint.expected)
    point = Point(lm, material, checkpoint.step, edited.projections, edited.undone)
    measures = [import_module(f"normgrowth.measure.{name}") for name in MEASURES]
    require_material(lm, material)
    for measure in measures:  # all of them before the first one works
        if hasattr(measure, "require"):
            measure.require(point)
    return {name: table for measure in measures for name, table in measure.measure(point).items()}
