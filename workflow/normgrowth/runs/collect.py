"""One table of a study out of the small files that its jobs wrote."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth.errors import ArtefactError
from normgrowth.io.digests import safetensors_header, stated_digest
from normgrowth.io.identity import AGAIN, require, require_rows
from normgrowth.io.schemas import IDENTITY, SCHEMAS, WITHOUT_TIMES
from normgrowth.io.tables import read_table_and_provenance
from normgrowth.layout import STATE_FILE, UNEDITED

BY_SEGMENT = ("norms", "edits", "scores", "speed")
BY_CHECKPOINT = ("scores", "activations", "subspaces", "coordinates", "cka", "spectra", "downstream")
SINGLE_EDITS = "single_edits"
INTERVENTIONS = "interventions"
TABLE_OF_ABILITY = "downstream"

OF_A_RUN = ("model_revision", "facts", "seed", "unique_subjects", "reserved_facts", "kind", "settings", "contexts")
OF_A_RUN += ("statistics", "null_spaces", "hypernetwork", "text", "heldout")
"""What all files of a run that name it were made with alike."""

OF_A_FILE = (*(name for name, _ in IDENTITY), "segment", "first", "last", "trajectory")
"""What a file says of itself alone, which is not said of the run."""


class Part(NamedTuple):
    """A small file and what its rows must be of."""

    path: Path
    identity: dict[str, object]  # study, model, editor and mostly order
    steps: tuple[int, int] | None  # first and last; None for any
    state: Path | None = None  # of the edits before a checkpoint


def collect(
    table: str,
    results: Path,
    study: str,
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
        checkpoints: steps that are measured, ascending; the last is the number of edits.
        evaluated: steps after which the tasks of a harness were evaluated; their rows stand in table `downstream`.

    Raises:
        ArtefactError: when a file is missing, damaged, of another table, or not of the study, run and steps that its
            path says.
    """
    frames, by_run = [], {}
    for model, editor, order in chains:
        names = {"study": study, "model": model, "editor": editor, "order": order}
        parts = [*_parts(table, results, names, segments, checkpoints)]
        if table == TABLE_OF_ABILITY:
            parts += _of_checkpoints("ability", results, names, evaluated, checkpoints[-1] // segments)
        if not parts:  # single edits are made once, not in every order
            continue
        read = [_read(table, part) for part in parts]
        by_run.setdefault(f"{model}/{editor}", {})[order] = {
            part.path: said for part, (_, said) in zip(parts, read, strict=True)
        }
        run = pd.concat([frame.assign(editor=editor) for frame, _ in read], ignore_index=True)
        frames.append(run.sort_values("step", kind="stable"))
    for orders in by_run.values():
        _require_one_run({path: said for made_by in orders.values() for path, said in made_by.items()})
    sources = {run: _origin(next(iter(orders.values()))) for run, orders in by_run.items()}
    rows = pd.concat(frames, ignore_index=True)
    if table == "scores":
        last = (rows["moment"] == "retention") & (rows["step"] == checkpoints[-1])
        rows.loc[last, "moment"] = "final"
    return rows, sources


def _parts(table: str, results: Path, names: dict, segments: int, checkpoints: Sequence[int]) -> Iterator[Part]:
    """The files that hold a run's rows of a table."""
    model, editor, order = names["model"], names["editor"], names["order"]
    if table in BY_SEGMENT:
        size = checkpoints[-1] // segments
        for segment in range(1, segments + 1):
            path = results / "runs" / model / editor / f"order-{order}" / f"segment-{segment}" / f"{table}.parquet"
            first = (segment - 1) * size + 1
            if table == "norms" and segment == 1:
                first = 0  # the unedited model's
            yield Part(path, names, (first, segment * size))
    if table == SINGLE_EDITS and order == 0:
        yield Part(results / "single-edits" / model / f"{editor}.parquet", names, (1, 1))
    if table == INTERVENTIONS:
        # Training runs of other seeds stand where other edit orders stand elsewhere.
        of_all_seeds = {name: value for name, value in names.items() if name != "order"}
        yield Part(results / INTERVENTIONS / model / f"{editor}.parquet", of_all_seeds, None)
    if table in BY_CHECKPOINT:
        yield from _of_checkpoints(table, results, names, checkpoints, checkpoints[-1] // segments)


def _of_checkpoints(file: str, results: Path, names: dict, steps: Sequence[int], size: int) -> Iterator[Part]:
    """A file of each of a run's checkpoints, that of step 0 being the unedited model's; `size` is that of a segment."""
    for step in steps:
        measured = {**names, "editor": UNEDITED if step == 0 else names["editor"]}
        run = Path(names["model"]) / measured["editor"] / f"order-{names['order']}"
        state = results / "runs" / run / f"segment-{-(-step // size)}" / STATE_FILE if step else None
        yield Part(results / "measurements" / run / f"after-{step}" / f"{file}.parquet", measured, (step, step), state)


def _read(table: str, part: Part) -> tuple[pd.DataFrame, dict]:
    """The rows of a file, with times where they stand beside it, and its provenance."""
    frame, said = _checked(table, part)
    if table in WITHOUT_TIMES:
        timing = part._replace(path=part.path.with_name("timing.parquet"))
        times, said_of_times = _checked("timing", timing)
        _require_one_run({part.path: said, timing.path: said_of_times})
        keys = ["step", "case_id"]
        if frame[keys].to_numpy().tolist() != times[keys].to_numpy().tolist():
            raise ArtefactError(f"{timing.path} holds times of other edits than {part.path} beside it; {AGAIN}")
        frame = frame.merge(times[[*keys, *WITHOUT_TIMES[table]]], on=keys, how="left")
    # Columns without a value in one file must not decide the type of the others.
    return frame[SCHEMAS[table].names].astype(object), said


def _checked(table: str, part: Part) -> tuple[pd.DataFrame, dict]:
    frame, said = read_table_and_provenance(part.path, table)
    require_rows(part.path, frame, said, part.identity, part.steps)
    if part.state and part.state.exists():
        measured = {"state": stated_digest(part.state, safetensors_header)}
        require(part.path, said, measured, f"that is what {part.state} is now; {AGAIN}")
    return frame, said


def _require_one_run(made_by: dict[Path, dict]) -> None:
    """Refuse files of one run that were not made with the same inputs and settings.

    Raises:
        ArtefactError: naming both files, what differs, and the remedy.
    """
    first: dict[str, tuple[Path, object]] = {}
    for path, said in made_by.items():
        for name in said.keys() & set(OF_A_RUN):
            other, value = first.setdefault(name, (path, said[name]))
            require(
                path, said, {name: value}, f"that is what {other} was made with; delete both and run the workflow again"
            )


def _origin(made_by: dict[Path, dict]) -> dict:
    """The provenance of the last file of each kind, of segments and of checkpoints, together."""
    last = {(path.name, path.parent.name.split("-")[0]): said for path, said in made_by.items()}.values()
    return {key: value for said in last for key, value in said.items() if key not in OF_A_FILE}
