"""Measurements at one checkpoint of a run."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth.io.columns import ALONG_CURVE, IDENTITY, MEASURES, OF_MODEL, made_by
from normgrowth.io.identity import require
from normgrowth.io.tables import read_table_and_provenance
from normgrowth.layout import UNEDITED, UNEDITED_TABLES
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.material import Material, require_material
from normgrowth.measure.point import Point, Unedited
from normgrowth.runs.state import EditedModel

OF_EDITED = ("curve", "retention_facts", "baseline_facts")
"""Settings of `measure` that checkpoints of edited models and the unedited one need not share."""


class Checkpoint(NamedTuple):
    """A point of a run: the unedited model, or the model after some of the run's segments."""

    step: int  # edits applied
    chain: Path | None  # the run's folder; None for the unedited model
    segments: int  # that lead to the checkpoint
    expected: Mapping[str, object]  # metadata that the run's states must carry


def measure_checkpoint(
    lm: LanguageModel,
    material: Material,
    checkpoint: Checkpoint,
    known: Mapping[str, pd.DataFrame] | None = None,
    unedited: Unedited | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables of everything measured at a checkpoint.

    Args:
        lm: the unedited model; it is brought to the checkpoint in place.
        known: tables that were measured already, without identity columns: whatever makes them alone is not measured.
        unedited: tables of the unedited model, where they are at hand: what they say is not measured again.

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
    point = Point(lm, material, checkpoint.step, edited.projections, edited.undone, unedited=unedited)
    known = known or {}
    wanted = [name for name in MEASURES if not set(made_by(name)) <= known.keys()]
    measures = {name: import_module(f"normgrowth.measure.{name}") for name in wanted}
    require_material(lm, material)
    for measure in measures.values():  # all of them before the first one works
        if hasattr(measure, "require"):
            measure.require(point)
    found: dict[str, list[pd.DataFrame]] = {}
    _add(found, known, checkpoint.step)
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


def of_first_order(folder: Path, metadata: Mapping[str, object]) -> dict[str, pd.DataFrame]:
    """The unedited model's tables that are the same in every edit order, without identity columns.

    Args:
        folder: tables of the unedited model in its first order.
        metadata: of the tables to be made, which those must agree with but for the order.

    Raises:
        ArtefactError: when a table is missing, damaged, or of another model or other settings.
    """
    expected = {name: value for name, value in metadata.items() if name != "order"}
    return {name: _table(folder, name, expected) for name in OF_MODEL}


def of_unedited(folder: Path, metadata: Mapping[str, object]) -> Unedited:
    """Tables of the unedited model, for a checkpoint of a run in the same order.

    Args:
        folder: where they stand.
        metadata: of the checkpoint's tables, which those must agree with but for what is the run's own.

    Raises:
        ArtefactError: when a table is missing, damaged, or of another model, order or other settings.
    """
    expected = {**metadata, "editor": UNEDITED, "step": 0}
    return Unedited(**{name: _table(folder, name, expected, OF_EDITED) for name in UNEDITED_TABLES})


def _table(folder: Path, name: str, expected: Mapping[str, object], unread: Collection[str] = ()) -> pd.DataFrame:
    """A table of a folder, without identity columns, whose metadata are the expected ones, versions aside.

    Args:
        unread: settings of `measure` that may differ.
    """
    path = folder / f"{name}.parquet"
    frame, said = read_table_and_provenance(path, name)
    said, expected = (dict(one) | {"measure": _without(one.get("measure"), unread)} for one in (said, expected))
    del expected["versions"]
    require(path, said, expected)
    return frame.drop(columns=[column for column, _ in IDENTITY])


def _without(settings: object, names: Collection[str]) -> object:
    """Settings without some of them."""
    return {k: v for k, v in settings.items() if k not in names} if isinstance(settings, dict) else settings


def _add(found: dict[str, list[pd.DataFrame]], tables: Mapping[str, pd.DataFrame], step: int) -> None:
    for name, table in tables.items():
        found.setdefault(name, []).append(table.assign(step=step))
