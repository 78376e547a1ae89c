"""Driving an editor along an edit order, one segment at a time.

A segment is N consecutive edits. It starts from the replayed states of the segments before it and leaves its own state,
the norms after every step, the edit log and the scores of each fact just after its edit. The result does not depend on
segment boundaries: contexts, second moments and targets follow from the weights, and batches are counted along the
order.
"""

import math
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory, Resources, Trace
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named
from normgrowth.facts.streams import kind_of
from normgrowth.io.provenance import provenance
from normgrowth.io.schemas import segment_schema
from normgrowth.io.tables import write_table
from normgrowth.layout import segment_folder
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import UNASKED, score_facts
from normgrowth.progress import Progress
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


class Call(NamedTuple):
    """Facts that the editor is given together."""

    number: int  # of the batch, counted along the order from 1
    first: int  # step of the first fact
    facts: list[Fact]

    @property
    def last(self) -> int:
        """Step of the last fact."""
        return self.first + len(self.facts) - 1


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
        for start in range(0, len(self.facts), self.batch):
            first = self.first + start
            yield Call((first - 1) // self.batch + 1, first, self.facts[start : start + self.batch])


def run_segment(run: Run, lm: LanguageModel, editor: Editor, resources: Resources, segment: Segment) -> None:
    """Make the edits of a segment and write its folder: state, `norms, edits, scores, timing, speed`, maybe `stream`.

    Args:
        lm: the unedited model; it is edited in place.

    Raises:
        EditError: naming the edit that failed; nothing of this segment is written then.
        ArtefactError: when an earlier state is missing or of another run, or the disk is full.
    """
    log = _Log()
    with log.load:
        telemetry, memory, log.norms = _start(run, lm, editor, resources, segment)
    state = SegmentState(editor.layers, memory)
    with SegmentProgress(segment.chain, segment.number) as status:
        with Progress(
            len(segment.facts), f"{run.editor} on {run.model}, order {run.order}, segment {segment.number}"
        ) as bar:
            for call in segment.calls():
                with log.edit:
                    trace = _edit(editor, lm, memory, call)
                state.add(call.last, trace.changes)
                with log.telemetry:
                    norms = _finite(telemetry.rows(call.last), call)
                with log.score:
                    scores = score_facts(lm, call.facts)
                log.add(call, trace, norms, scores)
                worst = max(row["frobenius_ratio"] for row in norms)
                bar.update(len(call.facts), f"norm x{worst:.3f}")
                status.update(len(call.facts))
        with log.telemetry:
            telemetry.recount(segment.last)

        place = {"segment": segment.number, "first": segment.first, "last": segment.last}
        metadata = provenance(**run.expected, **run.of_segment, **place, device=lm.device.type, dtype="float32")
        folder = segment_folder(segment.chain, segment.number)
        tables = log.tables() | ({"stream": noted(segment)} if segment.stream else {})
        for table, rows in tables.items():
            write_table(folder / f"{table}.parquet", run.identify(rows), segment_schema(table), metadata)
        speed = log.speed(segment, _peak_memory(lm))
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


class _Timer:
    """Wall time in seconds of the blocks that run under it: of the last one, and of all."""

    def __init__(self) -> None:
        self.last = self.total = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.last = time.perf_counter() - self._began
        self.total += self.last


class _Log:
    """The rows of a segment's tables, without the identity columns but `step`, and wall times."""

    def __init__(self) -> None:
        self.norms: list[dict] = []
        self.edits: list[dict] = []
        self.timing: list[dict] = []
        self.scores: list[pd.DataFrame] = []
        self.load, self.edit, self.telemetry, self.score = _Timer(), _Timer(), _Timer(), _Timer()

    def add(self, call: Call, trace: Trace, norms: list[dict], scores: pd.DataFrame) -> None:
        """Add rows for one call of the editor, the one timed last."""
        self.norms += norms
        seconds = self.edit.last / len(call.facts)
        for i, record in enumerate(trace.records):
            efficacy = scores["es"][i]
            self.edits.append(
                {"step": call.first + i, "batch": call.number, "immediate_efficacy": efficacy, **vars(record)}
            )
            self.timing.append({"step": call.first + i, "case_id": record.case_id, "edit_seconds": seconds})
        edited_at = range(call.first, call.last + 1)
        self.scores.append(scores.assign(step=call.last, edited_at=edited_at, moment="immediate"))

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name, but `speed`."""
        return {
            "norms": pd.DataFrame(self.norms),
            "edits": pd.DataFrame(self.edits),
            "scores": pd.concat(self.scores).assign(**UNASKED),
            "timing": pd.DataFrame(self.timing),
        }

    def speed(self, segment: Segment, peak_memory: float) -> pd.DataFrame:
        """The row of table `speed`; peak memory in megabytes."""
        row = {
            "step": segment.last,
            "segment": segment.number,
            "edits": len(segment.facts),
            "peak_memory_mb": peak_memory,
            "load_seconds": self.load.total,
            "edit_seconds": self.edit.total,
            "telemetry_seconds": self.telemetry.total,
            "score_seconds": self.score.total,
        }
        return pd.DataFrame([row])


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


def _edit(editor: Editor, lm: LanguageModel, memory: Memory, call: Call) -> Trace:
    try:
        return editor.edit(lm, memory, call.facts)
    except torch.linalg.LinAlgError as error:
        raise EditError(f"the edit of {named(call.facts)} (step {call.last}) has no solution: {error}") from error


def _finite(norms: list[dict], call: Call) -> list[dict]:
    """Rows of table `norms`, all of which are finite.

    Raises:
        EditError: when one is not; the message names the edit and the matrix.
    """
    for row in norms:
        if not math.isfinite(row["frobenius"]):
            raise EditError(
                f"the edit of {named(call.facts)} (step {call.last}) left {row['matrix']} with a norm of "
                f"{row['frobenius']}; earlier segments are kept"
            )
    return norms


def _peak_memory(lm: LanguageModel) -> float:
    """Peak memory in megabytes: of the device where there is one, else of the process."""
    if lm.device.type == "cuda":
        return torch.cuda.max_memory_allocated(lm.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
