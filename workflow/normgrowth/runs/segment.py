"""Driving an editor along an edit order, one segment at a time.

A segment is N consecutive edits. It starts from the replayed states of the segments before it and leaves its own state,
the norms after every step, the edit log and the scores of each fact just after its edit. The result does not depend on
segment boundaries: contexts, second moments and targets follow from the weights, and batches are counted along the
order.
"""

import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory, Resources
from normgrowth.facts.records import Fact
from normgrowth.facts.streams import kind_of
from normgrowth.io.provenance import provenance
from normgrowth.io.schemas import segment_schema
from normgrowth.io.tables import write_table
from normgrowth.layout import segment_folder
from normgrowth.lm.model import LanguageModel
from normgrowth.progress import Progress
from normgrowth.runs.edit_loop import Call, EditLoop, Log, calls_of
from normgrowth.runs.state import SegmentState, restore, save_state
from normgrowth.runs.status import SegmentProgress
from normgrowth.runs.telemetry import NormTelemetry


@dataclass(frozen=True)
class Run:
    """The names of a run (identity columns), and the metadata that its states must carry to be continued."""

    study: str
    model: str
    editor: str
    order: int
    fixed: Mapping[str, object]  # model revision, settings, seed, hashes of facts and resources
    of_segment: Mapping[str, object] = field(default_factory=dict)  # hashes of what one segment alone reads

    @property
    def identity(self) -> dict[str, object]:
        """The identity columns but `step`."""
        return {"study": self.study, "model": self.model, "editor": self.editor, "order": self.order}

    @property
    def expected(self) -> dict[str, object]:
        """Metadata that every state of the run must carry."""
        return {**self.identity, **self.fixed}

    def identify(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame that has column `step`, with all identity columns in front."""
        frame = frame.assign(**self.identity)
        first = [*self.identity, "step"]
        return frame[first + [column for column in frame.columns if column not in first]]


@dataclass(frozen=True)
class Segment:
    """Consecutive edits of a run, made by one job."""

    chain: Path  # folder of the run, with the segments before this one
    number: int  # from 1
    first: int  # step of the first edit
    facts: list[Fact]
    batch: int  # facts per call of the editor
    stream: bool = False  # whether facts are edited more than once, so that kinds and objects of edits are noted

    @property
    def last(self) -> int:
        """Step of the last edit."""
        return self.first + len(self.facts) - 1

    def calls(self) -> Iterator[Call]:
        """The calls of the editor that make the edits."""
        return calls_of(self.facts, self.batch, self.first, number=(self.first - 1) // self.batch + 1)


def run_segment(run: Run, lm: LanguageModel, editor: Editor, resources: Resources, segment: Segment) -> None:
    """Make the edits of a segment and write its folder: state, `norms, edits, scores, timing, speed`, maybe `stream`.

    Args:
        lm: the unedited model; it is edited in place.

    Raises:
        EditError: naming the edit that failed; nothing of this segment is written then.
        ArtefactError: when an earlier state is missing or of another run, or the disk is full.
    """
    log = Log()
    with log.load:
        telemetry, memory, log.norms = _start(run, lm, editor, resources, segment)
    loop = EditLoop(lm, editor, memory, telemetry, log)
    state = SegmentState(editor.layers, memory)
    with SegmentProgress(segment.chain, segment.number) as status:
        with Progress(
            len(segment.facts), f"{run.editor} on {run.model}, order {run.order}, segment {segment.number}"
        ) as bar:
            for call in segment.calls():
                state.add(call.last, loop.make(call).changes)
                bar.update(len(call.facts), f"norm x{loop.largest_ratio:.3f}")
                status.update(len(call.facts))
        with log.telemetry:
            telemetry.recount(segment.last)

        place = {"segment": segment.number, "first": segment.first, "last": segment.last}
        metadata = provenance(**run.expected, **run.of_segment, **place, device=lm.device.type, dtype="float32")
        folder = segment_folder(segment.chain, segment.number)
        tables = log.tables() | ({"stream": noted(segment)} if segment.stream else {})
        for table, rows in tables.items():
            write_table(folder / f"{table}.parquet", run.identify(rows), segment_schema(table), metadata)
        speed = _speed(log, segment, _peak_memory(lm))
        write_table(folder / "speed.parquet", run.identify(speed), "speed", metadata)
        save_state(segment.chain, segment.number, lm, state, metadata)


def noted(segment: Segment) -> pd.DataFrame:
    """Kind and objects of each edit of a segment: table `stream`, without the identity columns but `step`."""
    return pd.DataFrame(
        {
            "step": step,
            "case_id": edit.case_id,
            "kind": kind_of(edit),
            "target_new": edit.target_new,
            "target_true": edit.target_true,
            "former": edit.former,
        }
        for step, edit in enumerate(segment.facts, start=segment.first)
    )


class _Start(NamedTuple):
    """Objects that a segment starts with, beside the weights."""

    telemetry: NormTelemetry
    memory: Memory
    norms: list[dict]  # rows of step 0; none but in the first segment


def _start(run: Run, lm: LanguageModel, editor: Editor, resources: Resources, segment: Segment) -> _Start:
    """Bring the unedited model to the segment's first edit."""
    editor.prepare(lm, resources)
    telemetry = NormTelemetry(lm, editor.layers)
    if segment.number == 1:
        norms = telemetry.rows(0)
        return _Start(telemetry, editor.begin(lm), norms)
    memory = restore(lm, segment.chain, segment.number - 1, run.expected)
    telemetry.rebase()
    return _Start(telemetry, memory, [])


def _speed(log: Log, segment: Segment, peak_memory: float) -> pd.DataFrame:
    """The row of table `speed`; peak memory in megabytes."""
    row = {
        "step": segment.last,
        "segment": segment.number,
        "edits": len(segment.facts),
        "peak_memory_mb": peak_memory,
        "load_seconds": log.load.total,
        "edit_seconds": log.edit.total,
        "telemetry_seconds": log.telemetry.total,
        "score_seconds": log.score.total,
    }
    return pd.DataFrame([row])


def _peak_memory(lm: LanguageModel) -> float:
    """Peak memory in megabytes: of the device where there is one, else of the process."""
    if lm.device.type == "cuda":
        return torch.cuda.max_memory_allocated(lm.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
