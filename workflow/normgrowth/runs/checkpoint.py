"""Measurements at one checkpoint of a run."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth.io.columns import ALONG_CURVE, MEASURES
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
        The tables `io.columns.CHECKPOINT_TABLES` by name, with all their columns but the identity columns other than
        `step`.

    Raises:
        ModelError: when probes or texts are longer than the model's context.
        FactError: naming the case whose prompt is too long.
        ArtefactError: when a state is missing, damaged or of another run.
    """
    chain = checkpoint.chain or Path()  # without segments no folder is read
    edited = EditedModel(lm, chain, checkpoint.segments, checkpoint.expected)
    point = Point(lm, material, checkpoint.step, edited.projections, edited.undone)
    measures = {name: import_module(f"normgrowth.measure.{name}") for name in MEASURES}
    require_material(lm, material)
    for measure in measures.values():  # all of them before the first one works
        if hasattr(measure, "require"):
            measure.require(point)
    found: dict[str, list[pd.DataFrame]] = {}
    for step in sorted(edited.steps & set(material.measure.curve)):
        with edited.at(step):
            for name in ALONG_CURVE:
                _add(found, measures[name].measure(replace(point, step=step, is_checkpoint=False)), step)
    for measure in measures.values():
        _add(found, measure.measure(point), checkpoint.step)
    # Columns without a value at one step must not decide the type of the others.
    return {
        name: tables[0] if len(tables) == 1 else pd.concat([table.astype(object) for table in tables])
        for name, tables in found.items()
    }


def _add(found: dict[str, list[pd.DataFrame]], tables: dict[str, pd.DataFrame], step: int) -> None:
    for name, table in tables.items():
        found.setdefault(name, []).append(table.assign(step=step))
