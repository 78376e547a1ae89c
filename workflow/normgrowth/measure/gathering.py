"""What editors need before their first edit, gathered in memory: context templates, second moments, null spaces.

Studies gather the same by a job of their own each, and read it from files (`editors.resources`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.moments import NullSpace, SecondMoment, Sums, Vectors, gather_second_moments, null_space
from normgrowth.editors.settings import (
    GRADIENT_MOMENTS,
    NULL_SPACES,
    SECOND_MOMENTS,
    EditorSettings,
    SearchSettings,
)
from normgrowth.facts.records import Fact
from normgrowth.lm.context_templates import sample_contexts
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_edits
from normgrowth.measure.model_text import text_for_moments
from normgrowth.progress import Progress

ROWS_PER_PASS = 32
"""Windows in one pass that gathers second moments."""


class Amounts(NamedTuple):
    """How much is gathered."""

    contexts_per_length: int  # templates at each of two lengths
    moment_tokens: int  # of the text that second moments are of
    window: int  # tokens of one window of it


class MomentText(NamedTuple):
    """Tokens that second moments are of: those of the text, and those that the model wrote itself."""

    read: int
    written: int


@dataclass(frozen=True)
class Gathered:
    """What editors need before their first edit."""

    contexts: dict[str, list[str]]
    moments: dict[int, SecondMoment]
    facts: tuple[Fact, ...]
    seed: int
    gradient_moments: dict[int, SecondMoment] = field(default_factory=dict)
    text: MomentText | None = None  # None where no editor needs second moments
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


def gather(
    lm: LanguageModel,
    chosen: Sequence[EditorSettings],
    edited: Sequence[Fact],
    facts: Sequence[Fact],
    text: Path | None,
    amounts: Amounts,
    seed: int,
) -> Gathered:
    """What editors with these settings need on an unedited model.

    Args:
        edited: facts that will be edited; one that does not fit the model's context is refused now.
        facts: all that editors may look at, as NAS's pilots do.
        text: for second moments; where it is left out or too short, the model writes the rest itself.

    Raises:
        FactError: when a fact does not fit the model's context or tokenizer.
        ModelError: when a window of text does not, or the model writes no text.
        ArtefactError: when the text is none, or too short for a window.
    """
    contexts: dict[str, list[str]] = {}
    if any(isinstance(settings, SearchSettings) for settings in chosen):
        contexts = sample_contexts(lm, seed, amounts.contexts_per_length)
        require_edits(lm, edited, [template for templates in contexts.values() for template in templates])
    layers = layers_with_moments(chosen)
    if not layers:
        return Gathered(contexts, {}, tuple(facts), seed)
    found = text_for_moments(lm, text, amounts.moment_tokens, amounts.window, seed)
    moments = gather_moments(lm, found.windows, layers)
    with_gradients = layers_with_moments(chosen, "gradients")
    gradients = gather_moments(lm, found.windows, with_gradients, "gradients") if with_gradients else {}
    return Gathered(contexts, moments, tuple(facts), seed, gradients, MomentText(found.read, found.written))


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
