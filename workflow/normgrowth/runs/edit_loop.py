"""The loop of segments and of the library: calls of an editor, each followed by norms and scores."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory, Trace
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import UNASKED, score_facts
from normgrowth.runs.telemetry import NormTelemetry


class Call(NamedTuple):
    """Facts that the editor is given together."""

    number: int  # of the batch, counted along the order from 1
    first: int  # step of the first fact
    facts: list[Fact]

    @property
    def last(self) -> int:
        """Step of the last fact."""
        return self.first + len(self.facts) - 1


def calls_of(facts: Sequence[Fact], batch: int, first: int, number: int) -> Iterator[Call]:
    """The calls that edit `facts`, `batch` in each; the first of them has this step and this number."""
    for place, start in enumerate(range(0, len(facts), batch)):
        yield Call(number + place, first + start, list(facts[start : start + batch]))


class Timer:
    """Wall time in seconds of the blocks that run under it: of the last one, and of all."""

    def __init__(self) -> None:
        self.last = self.total = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.last = time.perf_counter() - self._began
        self.total += self.last


class Log:
    """The rows of the tables of a run's edits, without the identity columns but `step`, and wall times."""

    def __init__(self) -> None:
        self.norms: list[dict] = []
        self.edits: list[dict] = []
        self.timing: list[dict] = []
        self.scores: list[pd.DataFrame] = []
        self.load, self.edit, self.telemetry, self.score = Timer(), Timer(), Timer(), Timer()

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
        """The tables by name: `norms, edits, scores, timing`."""
        return {
            "norms": pd.DataFrame(self.norms),
            "edits": pd.DataFrame(self.edits),
            "scores": pd.concat(self.scores).assign(**UNASKED),
            "timing": pd.DataFrame(self.timing),
        }


@dataclass
class EditLoop:
    """An editor at work on a model: each call changes the model and the memory in place, and adds rows to the log."""

    lm: LanguageModel
    editor: Editor  # prepared on the unedited model
    memory: Memory
    telemetry: NormTelemetry  # whose last rows are those of the model as it is
    log: Log = field(default_factory=Log)
    largest_ratio: float = 1.0
    """Largest norm of a matrix after the last call, in units of its unedited norm."""

    def make(self, call: Call) -> Trace:
        """Make the edits of a call, then measure norms and score its facts.

        Raises:
            EditError: naming the edit that failed, or that left a norm which is no number; the model is changed then.
        """
        with self.log.edit:
            trace = self._edit(call)
        with self.log.telemetry:
            norms = _finite(self.telemetry.rows(call.last), call)
        with self.log.score:
            scores = score_facts(self.lm, call.facts)
        self.log.add(call, trace, norms, scores)
        self.largest_ratio = max(row["frobenius_ratio"] for row in norms)
        return trace

    def _edit(self, call: Call) -> Trace:
        try:
            return self.editor.edit(self.lm, self.memory, call.facts)
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
                f"{row['frobenius']}: lower clamp or learning_rate, or make fewer edits"
            )
    return norms
