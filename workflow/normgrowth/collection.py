"""One table of a study out of the small files that its jobs wrote."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from normgrowth.artefacts.schemas import SCHEMAS, UNEDITED, WITHOUT_TIMES
from normgrowth.artefacts.tables import read_provenance, read_table

BY_SEGMENT = ("norms", "edits", "scores", "speed")
BY_CHECKPOINT = ("scores", "activations", "subspaces", "coordinates", "cka", "spectra", "downstream")
SINGLE_EDITS = "single_edits"
INTERVENTIONS = "interventions"
TABLE_OF_ABILITY = "downstream"


def collect(
    table: str,
    results: Path,
    chains: Sequence[tuple[str, str, int]],
    segments: int,
    checkpoints: Sequence[int],
    evaluated: Sequence[int] = (),
) -> tuple[pd.DataFrame, dict]:
    """All rows of a table, run after run in the order of their steps, and the provenance of each run.

    The unedited model is measured once for all editors; its rows stand under each editor's name here, so that every
    curve begins at step 0. Scores of edited facts at the last checkpoint are the final ones.

    Args:
        chains: model, editor and order of each run.
        evaluated: steps after which the tasks of a harness were evaluated; their rows stand in table `downstream`.

    Raises:
        ArtefactError: when a file is missing, damaged or of another table.
    """
    frames, sources = [], {}
    for model, editor, order in chains:
        paths = [*_files(table, results, model, editor, order, segments, checkpoints)]
        if table == TABLE_OF_ABILITY:
            paths += _of_checkpoints("ability", results, model, editor, order, evaluated)
        if not paths:  # single edits are made once, not in every order
            continue
        run = pd.concat([_read(table, path, editor) for path in paths], ignore_index=True)
        frames.append(run.sort_values("step", kind="stable"))
        sources.setdefault(f"{model}/{editor}", _origin(paths))
    rows = pd.concat(frames, ignore_index=True)
    if table == "scores":
        last = (rows["moment"] == "retention") & (rows["step"] == checkpoints[-1])
        rows.loc[last, "moment"] = "final"
    return rows, sources


def _files(
    table: str, results: Path, model: str, editor: str, order: int, segments: int, checkpoints: Sequence[int]
) -> Iterator[Path]:
    """The files that hold a run's rows of a table."""
    if table in BY_SEGMENT:
        for segment in range(1, segments + 1):
            yield results / "runs" / model / editor / f"order-{order}" / f"segment-{segment}" / f"{table}.parquet"
    if table == SINGLE_EDITS and order == 0:
        yield results / "single-edits" / model / f"{editor}.parquet"
    if table == INTERVENTIONS:
        yield results / INTERVENTIONS / model / f"{editor}.parquet"
    if table in BY_CHECKPOINT:
        yield from _of_checkpoints(table, results, model, editor, order, checkpoints)


def _of_checkpoints(
    file: str, results: Path, model: str, editor: str, order: int, steps: Sequence[int]
) -> Iterator[Path]:
    """A file of each of a run's checkpoints, that of step 0 being the unedited model's."""
    for step in steps:
        measured = UNEDITED if step == 0 else editor
        yield results / "measurements" / model / measured / f"order-{order}" / f"after-{step}" / f"{file}.parquet"


def _origin(paths: Sequence[Path]) -> dict:
    """The provenance of the last file of each kind, together."""
    last = {path.name: path for path in paths}.values()
    return {key: value for path in last for key, value in read_provenance(path).items()}


def _read(table: str, path: Path, editor: str) -> pd.DataFrame:
    frame = read_table(path, table).assign(editor=editor)
    if table in WITHOUT_TIMES:
        times = read_table(path.with_name("timing.parquet"), "timing")
        frame = frame.merge(times[["step", "case_id", *WITHOUT_TIMES[table]]], on=["step", "case_id"], how="left")
    # Columns without a value in one file must not decide the type of the others.
    return frame[SCHEMAS[table].names].astype(object)
