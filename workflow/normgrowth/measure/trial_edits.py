"""Trial edits: single edits by several editors on one model, with what the editors need gathered in memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory, Trace
from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import EditorSettings
from normgrowth.errors import NormgrowthError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.gathering import Gathered
from normgrowth.measure.scores import score_single_edits
from normgrowth.progress import Progress

SCORES = ("es", "ps", "ns")


@dataclass(frozen=True)
class Trial:
    """Single edits by one editor: means over the edits that were made."""

    editor: str
    layers: tuple[int, ...]
    asked: int  # facts
    made: int  # edits; the others were refused
    scores: dict[str, float | None]  # ES, PS, NS after the edit, by their column of table `scores`
    change: float | None  # norm of an edit's change, in units of that of the matrices it edits
    loss: float | None  # of the new object, where the search or training of an edit ended
    seconds: float | None  # of one edit, its scores aside
    refusal: str | None  # the first reason for which an edit was not made


def try_editor(
    lm: LanguageModel, name: str, settings: EditorSettings, gathered: Gathered, facts: Sequence[Fact]
) -> Trial:
    """Edit each fact alone on the unedited model and score it; the parameters end bit for bit as before.

    An edit that the editor refuses is counted, and the others are made.
    """
    editor = _Timed(declaration(name).build(settings))
    edited = [lm.anatomy.down_projections[layer] for layer in settings.edited_layers]
    norm = sum(frobenius(projection.matrix) ** 2 for projection in edited) ** 0.5
    scored: list[pd.DataFrame] = []
    refusals: list[str] = []
    with Progress(len(facts), f"single edits by {name}") as progress, _as_before(edited) as put_back:
        try:
            editor.prepare(lm, gathered.resources(settings))
            memory = editor.begin(lm)
        except NormgrowthError as error:
            refusals.append(str(error))
            facts_to_edit: Sequence[Fact] = ()
        else:
            facts_to_edit = facts
        for fact in facts_to_edit:
            try:
                scored.append(score_single_edits(lm, editor, memory, [fact]))
            except NormgrowthError as error:
                refusals.append(f"{named([fact])}: {error}")
                put_back()
            progress.update(note=_note(scored))
    rows = pd.concat(scored) if scored else pd.DataFrame(columns=[*SCORES, "delta_frobenius"])
    change = _mean(rows["delta_frobenius"])
    return Trial(
        editor=name,
        layers=settings.edited_layers,
        asked=len(facts),
        made=len(scored),
        scores=means_of(rows),
        change=None if change is None else change / norm,
        loss=_mean(pd.Series(editor.losses, dtype=float)),
        seconds=_mean(pd.Series(editor.seconds, dtype=float)),
        refusal=refusals[0] if refusals else None,
    )


class _Timed:
    """An editor that notes the seconds of each of its edits, and the loss that it ended with."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self.layers = editor.layers
        self.prepare, self.begin = editor.prepare, editor.begin
        self.seconds: list[float] = []
        self.losses: list[float | None] = []

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Edit as the editor does."""
        began = time.monotonic()
        trace = self._editor.edit(lm, memory, facts)
        if lm.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.monotonic() - began)
        self.losses += [record.search_loss for record in trace.records]
        return trace


@contextmanager
def _as_before(edited: Sequence[Projection]) -> Iterator[Callable[[], None]]:
    """Put parameters back at the end, and whenever the function that is handed out is called."""
    kept = KeptWeights(edited)
    try:
        yield kept.put_back
    finally:
        kept.put_back()


def means_of(scores: pd.DataFrame) -> dict[str, float | None]:
    """Mean ES, PS and NS of rows of table `scores`; None for a score that none of them has."""
    return {score: _mean(scores[score]) for score in SCORES}


def _mean(values: pd.Series) -> float | None:
    """Mean of the values that are there; None where none is."""
    mean = values.astype(float).mean()
    return None if np.isnan(mean) else float(mean)


def _note(scored: Sequence[pd.DataFrame]) -> str:
    """Scores so far, in words."""
    means = means_of(pd.concat(scored)) if scored else {}
    return ", ".join(f"{score.upper()} {100 * mean:.0f}%" for score, mean in means.items() if mean is not None)
