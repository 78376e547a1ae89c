"""Seconds per edit of every editor, one fact at a time and a hundred at once, and where they go."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from benchmarks.ratios import SEARCH, undone
from benchmarks.subjects import Subject
from benchmarks.timing import seconds, table
from normgrowth.editors.hypernetwork.networks import input_output_widths
from normgrowth.editors.locate import method
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import (
    GRADIENT_MOMENTS,
    NULL_SPACES,
    HypernetworkSettings,
    OneAtATime,
    SearchSettings,
    WrapperSettings,
)
from normgrowth.measure.scores import score_facts

BATCH = 100
WRITERS = [kind for kind in sorted(EDITORS) if not issubclass(declaration(kind).Settings, WrapperSettings)]


def every_editor(subject: Subject, kinds: list[str] = WRITERS) -> str:
    """A table of seconds per edit; searches take all their steps, gradient descent stops as published."""
    rows = []
    for kind in kinds:
        settings = declaration(kind).Settings
        batches = [1] if issubclass(settings, OneAtATime) else [1, BATCH]
        rows += [(kind, batch, *_timed(subject, kind, batch)) for batch in batches]
    columns = ("editor", "batch", "seconds per edit", "of them search", "update", "scoring, a fact")
    return table(columns, rows)


def settings_of(subject: Subject, kind: str, batch: int):
    """The editor's defaults, its searches without an early end."""
    declared = declaration(kind).Settings
    values: dict = {"batch": batch}
    if issubclass(declared, SearchSettings):
        values |= SEARCH
    if "divergence_stop" in declared.model_fields:
        values["divergence_stop"] = 0.0
    return declared(**values).resolved(len(subject.lm.anatomy.blocks))


def prepared(subject: Subject, kind: str, settings):
    """The editor and its memory before the first edit."""
    lm = subject.lm
    needed = {name: name in settings.needs for name in (NULL_SPACES, GRADIENT_MOMENTS)}
    resources = subject.resources(settings.layers, **needed)
    if isinstance(settings, HypernetworkSettings):
        d, o = input_output_widths(lm, settings.layers)
        network = declaration(kind).network(settings).initial(d, o, 0)  # untrained: as fast as a trained one
        resources = replace(resources, hypernetwork=network | {"mean": torch.zeros(d + o), "std": torch.ones(d + o)})
    editor = declaration(kind).build(settings)
    editor.prepare(lm, resources)
    return editor, editor.begin(lm)


def warm_up(subject: Subject, editor, memory) -> None:
    """One edit, taken back: the first of a run factors what later ones only solve with."""
    with undone(subject.lm, editor.layers):
        editor.edit(subject.lm, dict(memory), subject.facts[-1:])


@contextmanager
def searches() -> Iterator[list[float]]:
    """Gather the seconds of each target search."""
    spent: list[float] = []

    def search(self, *arguments):
        found: list = []
        spent.append(seconds(lambda: found.append(own(self, *arguments))))
        return found[0]

    own, method.LocateThenEdit.search = method.LocateThenEdit.search, search
    try:
        yield spent
    finally:
        method.LocateThenEdit.search = own


def _timed(subject: Subject, kind: str, batch: int) -> tuple[float, float | None, float | None, float]:
    lm, settings = subject.lm, settings_of(subject, kind, batch)
    editor, memory = prepared(subject, kind, settings)
    facts = subject.facts[: max(batch, 3)]
    warm_up(subject, editor, memory)
    with undone(lm, editor.layers), searches() as searching:
        batches = [facts[start : start + batch] for start in range(0, len(facts), batch)]
        whole = seconds(lambda: [editor.edit(lm, memory, chosen) for chosen in batches]) / len(facts)
    spent = sum(searching) / len(facts) if searching else None
    scoring = seconds(lambda: score_facts(lm, facts)) / len(facts)
    return whole, spent, whole - spent if searching else None, scoring
