"""Trial edits: single edits by several editors on one model, with what the editors need gathered in memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory, Resources, Trace
from normgrowth.editors.moments import NullSpace, SecondMoment, Sums, Vectors, gather_second_moments, null_space
from normgrowth.editors.registry import declaration
from normgrowth.editors.settings import GRADIENT_MOMENTS, NULL_SPACES, SECOND_MOMENTS, EditorSettings
from normgrowth.errors import NormgrowthError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import score_single_edits
from normgrowth.progress import Progress

ROWS_PER_PASS = 32
"""Windows in one pass that gathers second moments."""

SCORES = ("es", "ps", "ns")


@dataclass(frozen=True)
class Gathered:
    """What editors need before their first edit."""

    contexts: dict[str, list[str]]
    moments: dict[int, SecondMoment]
    facts: tuple[Fact, ...]
    seed: int
    gradient_moments: dict[int, SecondMoment] = field(default_factory=dict)
    _spaces: dict[tuple[int, float | None], NullSpace] = field(default_factory=dict, repr=False)

    def resources(self, settings: EditorSettings) -> Resources:
        """Resources of an editor with these settings.

        Raises:
            ModelError: when a null space cannot be found.
        """
        threshold = getattr(settings, "null_space_threshold", None)
        spaces = {}
        for layer in settings.edited_layers if NULL_SPACES in settings.needs else ():
            if (layer, threshold) not in self._spaces:
                self._spaces[layer, threshold] = null_space(self.moments[layer], threshold)
            spaces[layer] = self._spaces[layer, threshold]
        return Resources(self.contexts, self.moments, spaces, self.gradient_moments, facts=self.facts, seed=self.seed)


OF_MOMENTS: dict[Vectors, frozenset[str]] = {
    "keys": frozenset({SECOND_MOMENTS, NULL_SPACES}),
    "gradients": frozenset({GRADIENT_MOMENTS}),
}
"""Needs of editors that are met from second moments, by what these are of."""


def layers_with_moments(chosen: Sequence[EditorSettings], of: Vectors = "keys") -> list[int]:
    """Layers whose second moment, of keys or of gradients, some of the editors needs."""
    needing = [settings for settings in chosen if settings.needs & OF_MOMENTS[of]]
    return sorted({layer for settings in needing for layer in settings.edited_layers})


def gather_moments(
    lm: LanguageModel, windows: torch.Tensor, layers: Sequence[int], of: Vectors = "keys"
) -> dict[int, SecondMoment]:
    """Second moments, of keys or of gradients, at some layers over windows of text [count, tokens]."""
    with Progress(len(windows), "windows read for second moments") as progress:

        def count(_: Sums) -> None:
            progress.update(min(ROWS_PER_PASS, len(windows) - progress.done))

        return gather_second_moments(lm, windows.split(ROWS_PER_PASS), layers, keep=count, of=of)


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
    kept = [(parameter, parameter.clone()) for projection in edited for parameter in projection.parameters.values()]

    @torch.no_grad()
    def put_back() -> None:
        for parameter, before in kept:
            parameter.copy_(before)

    try:
        yield put_back
    finally:
        put_back()


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
