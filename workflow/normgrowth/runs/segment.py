"""Driving an editor along an edit order, one segment at a time.

A segment is N consecutive edits. It starts from the replayed states of the segments before it and leaves its own state,
the norms after every step, the edit log and the scores of each fact just after its edit. Nothing in it depends on where
segments begin: contexts, second moments and targets follow from the weights, and batches are counted along the order.
"""

import math
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Resources
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named
from normgrowth.io.provenance import provenance
from normgrowth.io.schemas import segment_schema
from normgrowth.io.tables import write_table
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import UNASKED, score_facts
from normgrowth.progress import Progress
from normgrowth.runs.state import STATE_FILE, Segment, restore, save_state, segment_folder
from normgrowth.runs.telemetry import NormTelemetry


@dataclass(frozen=True)
class Run:
    """The names of a chain (identity columns) and what its states must carry to be continued."""

    study: str
    model: str
    editor: str
    order: int
    fixed: dict  # model revision, settings, seed, hashes of facts and resources
    of_segment: dict = field(default_factory=dict)  # hashes of what one segment alone reads

    @property
    def identity(self) -> dict[str, object]:
        """The identity columns but `step`."""
        return {"study": self.study, "model": self.model, "editor": self.editor, "order": self.order}

    @property
    def expected(self) -> dict[str, object]:
        """What every state of the chain must say."""
        return {**self.identity, **self.fixed}

    def identify(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the identity columns in front, `step` being there already."""
        frame = frame.assign(**self.identity)
        first = [*self.identity, "step"]
        return frame[first + [column for column in frame.columns if column not in first]]


def run_segment(
    run: Run,
    lm: LanguageModel,
    editor: Editor,
    resources: Resources,
    chain: Path,
    number: int,
    first: int,
    facts: list[Fact],
    batch: int,
) -> None:
    """Apply the edits of segment `number` (steps `first` to `first` + len(facts) - 1) and write its folder.

    Args:
        lm: the unedited model; it is edited in place.
        chain: the folder of the run, with the segments before this one.
        batch: facts per call of the editor.

    Raises:
        EditError: naming the edit that failed; nothing of this segment is written then.
        ArtefactError: when an earlier state is missing or of another run, or the disk is full.
    """
    began = time.perf_counter()
    editor.prepare(lm, resources)
    telemetry = NormTelemetry(lm, editor.layers)
    norms = telemetry.rows(0) if number == 1 else []
    if number == 1:
        memory = editor.begin(lm)
    else:
        memory = restore(lm, chain, number - 1, run.expected)
        telemetry.rebase()
    seconds = {"load": time.perf_counter() - began, "edit": 0.0, "telemetry": 0.0, "score": 0.0}

    segment, edits, timing, scores = Segment(), [], [], []
    with Progress(len(facts), f"{run.editor} on {run.model}, order {run.order}, segment {number}") as progress:
        for start in range(0, len(facts), batch):
            chosen = facts[start : start + batch]
            step = first + start + len(chosen) - 1
            began = time.perf_counter()
            trace = _edit(editor, lm, memory, chosen, step)
            edit_seconds = time.perf_counter() - began
            segment.add(step, trace.changes)
            began = time.perf_counter()
            rows = _checked(telemetry.rows(step), chosen, step)
            norms += rows
            seconds["telemetry"] += time.perf_counter() - began
            began = time.perf_counter()
            scored = score_facts(lm, chosen)
            seconds["score"] += time.perf_counter() - began
            seconds["edit"] += edit_seconds
            for i, record in enumerate(trace.records):
                edit_step = first + start + i
                edits.append(
                    {
                        "step": edit_step,
                        "batch": (first + start - 1) // batch + 1,
                        "immediate_efficacy": scored["es"][i],
                        **vars(record),
                    }
                )
                timing.append(
                    {"step": edit_step, "case_id": record.case_id, "edit_seconds": edit_seconds / len(chosen)}
                )
            scores.append(scored.assign(step=step, edited_at=range(first + start, step + 1), moment="immediate"))
            worst = max(row["frobenius_ratio"] for row in rows)
            progress.update(len(chosen), f"norm x{worst:.3f}")
    began = time.perf_counter()
    telemetry.recount(first + len(facts) - 1)
    seconds["telemetry"] += time.perf_counter() - began

    folder = segment_folder(chain, number)
    place = {"segment": number, "first": first, "last": first + len(facts) - 1}
    metadata = provenance(**run.expected, **run.of_segment, **place, device=lm.device.type, dtype="float32")
    write_table(folder / "norms.parquet", run.identify(pd.DataFrame(norms)), "norms", metadata)
    write_table(folder / "edits.parquet", run.identify(pd.DataFrame(edits)), segment_schema("edits"), metadata)
    write_table(folder / "scores.parquet", run.identify(pd.concat(scores).assign(**UNASKED)), "scores", metadata)
    write_table(folder / "timing.parquet", run.identify(pd.DataFrame(timing)), "timing", metadata)
    speed = {"step": first + len(facts) - 1, "segment": number, "edits": len(facts), "peak_memory_mb": _peak_memory(lm)}
    speed |= {f"{name}_seconds": value for name, value in seconds.items()}
    write_table(folder / "speed.parquet", run.identify(pd.DataFrame([speed])), "speed", metadata)
    previous = segment_folder(chain, number - 1) / STATE_FILE if number > 1 else None
    save_state(folder, lm, editor.layers, segment, memory, metadata, previous)


def _edit(editor: Editor, lm: LanguageModel, memory: dict, facts: list[Fact], step: int):
    try:
        return editor.edit(lm, memory, facts)
    except torch.linalg.LinAlgError as error:
        raise EditError(f"the edit of {named(facts)} (step {step}) has no solution: {error}") from error


def _checked(rows: list[dict], facts: list[Fact], step: int) -> list[dict]:
    for row in rows:
        if not math.isfinite(row["frobenius"]):
            raise EditError(
                f"the edit of {named(facts)} (step {step}) left {row['matrix']} with a norm of {row['frobenius']}; "
                "earlier segments are kept"
            )
    return rows


def _peak_memory(lm: LanguageModel) -> float:
    """Megabytes: of the device where there is one, else of the process."""
    if lm.device.type == "cuda":
        return torch.cuda.max_memory_allocated(lm.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
