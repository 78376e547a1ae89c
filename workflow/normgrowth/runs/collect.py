"""A table of a study, collected from the small files that its jobs wrote."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth import layout
from normgrowth.errors import ArtefactError
from normgrowth.io.columns import CHECKPOINT_TABLES, IDENTITY, TABLES, WITHOUT_TIMES
from normgrowth.io.digests import safetensors_header, stated_digest
from normgrowth.io.identity import AGAIN, require, require_rows
from normgrowth.io.provenance import UNSTATED
from normgrowth.io.schemas import SCHEMAS
from normgrowth.io.tables import read_table_and_provenance

COMMON_TO_A_RUN = frozenset(
    {
        *(
            "model_revision",
            "model_quantisation",
            "facts",
            "seed",
            "unique_subjects",
            "reserved_facts",
            "block",
            "stream",
            "kind",
            "settings",
            "contexts",
        ),
        *("statistics", "null_spaces", "gradient_moments", "hypernetwork", "text", "heldout"),
    }
)
"""Entries of provenance that all files of a run share, where they have them."""

OF_ONE_FILE = frozenset({*(name for name, _ in IDENTITY), "segment", "first", "last", "trajectory"})
"""Entries of provenance that hold for a single file, and not for its run."""

Provenance = Mapping[str, object]


@dataclass(frozen=True)
class StudyFiles:
    """The files that a study's jobs have written."""

    results: Path  # the folder of the study's results
    study: str
    chains: Sequence[tuple[str, str, int]]  # model, editor and order of each run
    segments: int  # of every run
    checkpoints: Sequence[int]  # steps that are measured, ascending; the last is the number of edits
    evaluated: Sequence[int] = ()  # steps after which the tasks of a harness were evaluated

    @property
    def edits(self) -> int:
        """Edits of every run."""
        return self.checkpoints[-1]

    @property
    def segment(self) -> int:
        """Edits of every segment."""
        return self.edits // self.segments


class Names(NamedTuple):
    """The identity columns but `step`."""

    study: str
    model: str
    editor: str
    order: int


class Part(NamedTuple):
    """A small file, and the identity that its rows must have."""

    path: Path
    identity: Mapping[str, object]  # study, model, editor and mostly order
    steps: tuple[int, int] | None  # first and last; None for any
    state: Path | None = None  # of the edits before a checkpoint


def collect(table: str, files: StudyFiles) -> tuple[pd.DataFrame, dict[str, dict[str, object]]]:
    """All rows of a table, run after run in the order of their steps, and the provenance of each run.

    The unedited model is measured once for all editors; its rows stand under each editor's name here, so that every
    curve begins at step 0. Scores of edited facts at the last checkpoint are the final ones. Rows of evaluated tasks
    stand in table `downstream`.

    Returns:
        The columns of the table's schema; and by `model/editor` the entries of provenance that hold for the run.

    Raises:
        ArtefactError: when a file is missing, damaged, of another table, or not of the study, run and steps that its
            path says.
    """
    frames: list[pd.DataFrame] = []
    by_run: dict[str, list[dict[Path, Provenance]]] = {}  # for each order
    digest_of = cache(_digest_of_state)  # one state may stand before several checkpoint files
    for model, editor, order in files.chains:
        parts = [*_parts(table, files, Names(files.study, model, editor, order))]
        if not parts:  # single edits are made once, not in every order
            continue
        read = [_read(table, part, digest_of) for part in parts]
        said = {part.path: made_by for part, (_, made_by) in zip(parts, read, strict=True)}
        by_run.setdefault(f"{model}/{editor}", []).append(said)
        run = pd.concat([frame.assign(editor=editor) for frame, _ in read], ignore_index=True)
        frames.append(run.sort_values("step", kind="stable"))
    for orders in by_run.values():
        _require_one_run({path: said for made_by in orders for path, said in made_by.items()})
    rows = pd.concat(frames, ignore_index=True)
    if table == "scores":
        last = (rows["moment"] == "retention") & (rows["step"] == files.edits)
        rows.loc[last, "moment"] = "final"
    return rows, {run: _origin(orders[0]) for run, orders in by_run.items()}


def _parts(table: str, files: StudyFiles, run: Names) -> Iterator[Part]:
    """The files that hold a run's rows of a table."""
    if table in (*layout.SEGMENT_TABLES, layout.STREAM):
        yield from _of_segments(table, files, run)
    if table == layout.SINGLE_EDITS and run.order == 0:
        yield Part(files.results / layout.SINGLE_EDITS_IN.format(**run._asdict()), run._asdict(), (1, 1))
    if table == layout.INTERVENTIONS:
        # Training runs of other seeds stand where other edit orders stand elsewhere.
        of_all_seeds = {name: value for name, value in run._asdict().items() if name != "order"}
        yield Part(files.results / layout.INTERVENTION_IN.format(**run._asdict()), of_all_seeds, None)
    if table in CHECKPOINT_TABLES:
        yield from _of_checkpoints(f"{table}.parquet", files, run, files.checkpoints, TABLES[table].along)
    if table == layout.ABILITY_TABLE:
        yield from _of_checkpoints(layout.ABILITY_FILE, files, run, files.evaluated)


def _of_segments(table: str, files: StudyFiles, run: Names) -> Iterator[Part]:
    """A file of each of a run's segments."""
    for segment in range(1, files.segments + 1):
        folder = files.results / layout.SEGMENT_IN.format(**run._asdict(), segment=segment)
        first = (segment - 1) * files.segment + 1
        if table == "norms" and segment == 1:
            first = 0  # the unedited model's
        yield Part(folder / f"{table}.parquet", run._asdict(), (first, segment * files.segment))


def _of_checkpoints(
    file: str, files: StudyFiles, run: Names, steps: Sequence[int], along: bool = False
) -> Iterator[Part]:
    """A file of each of a run's checkpoints; that of step 0 is the unedited model's.

    Args:
        along: a file may also hold steps since the checkpoint before.
    """
    for before, step in pairwise([-1, *steps]):
        measured = run._replace(editor=layout.UNEDITED) if step == 0 else run
        segment = -(-step // files.segment)
        state = files.results / layout.SEGMENT_IN.format(**measured._asdict(), segment=segment) / layout.STATE_FILE
        folder = files.results / layout.CHECKPOINT_IN.format(**measured._asdict(), step=step)
        yield Part(folder / file, measured._asdict(), (before + 1 if along else step, step), state if step else None)


def _read(table: str, part: Part, digest_of: Callable[[Path], str | None]) -> tuple[pd.DataFrame, Provenance]:
    """The rows of a file, with times where they stand beside it, and its provenance."""
    frame, said = _checked(table, part, digest_of)
    if table in WITHOUT_TIMES:
        timing = part._replace(path=part.path.with_name(layout.TIMING_FILE))
        times, said_of_times = _checked("timing", timing, digest_of)
        _require_one_run({part.path: said, timing.path: said_of_times})
        keys = ["step", "case_id"]
        if frame[keys].to_numpy().tolist() != times[keys].to_numpy().tolist():
            raise ArtefactError(f"{timing.path} holds times of other edits than {part.path} beside it; {AGAIN}")
        frame = frame.merge(times[[*keys, *WITHOUT_TIMES[table]]], on=keys, how="left")
    # Empty columns of one file must not decide the type of those of the others.
    return frame[SCHEMAS[table].names].astype(object), said


def _checked(table: str, part: Part, digest_of: Callable[[Path], str | None]) -> tuple[pd.DataFrame, Provenance]:
    """The rows of a file and its provenance, after a check of both against the part."""
    frame, said = read_table_and_provenance(part.path, table)
    require_rows(part.path, frame, said, part.identity, part.steps)
    if part.state and (digest := digest_of(part.state)) is not None:
        require(part.path, said, {"state": digest}, f"that is what {part.state} is now; {AGAIN}")
    return frame, said


def _digest_of_state(path: Path) -> str | None:
    """The digest that a state carries; None where there is no state."""
    return stated_digest(path, safetensors_header) if path.exists() else None


def _require_one_run(made_by: Mapping[Path, Provenance]) -> None:
    """Refuse files of one run that were not made with the same inputs and settings.

    Raises:
        ArtefactError: naming both files, what differs, and the remedy.
    """
    first: dict[str, tuple[Path, object]] = {}
    for path, said in made_by.items():
        stated = {**UNSTATED, **said}
        for name in stated.keys() & COMMON_TO_A_RUN:
            other, value = first.setdefault(name, (path, stated[name]))
            require(
                path, said, {name: value}, f"that is what {other} was made with; delete both and run the workflow again"
            )


def _origin(made_by: Mapping[Path, Provenance]) -> dict[str, object]:
    """The provenance of the last file of each kind, of segments and of checkpoints, together."""
    last = {(path.name, path.parent.name.split("-")[0]): said for path, said in made_by.items()}.values()
    return {key: value for said in last for key, value in said.items() if key not in OF_ONE_FILE}
