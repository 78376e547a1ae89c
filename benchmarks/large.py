"""A run of ten thousand edits, projected from one batch, in the shape of a published model with random weights."""

from dataclasses import replace

import torch

from benchmarks.editors import BATCH, declaration, prepared
from benchmarks.ratios import SEARCH
from benchmarks.subjects import random_model
from benchmarks.timing import forget_peak_memory, peak_memory, seconds, table
from normgrowth.measure.scores import score_facts

EDITS = 10_000
LAYERS = {"llama-3-8b": (4, 5, 6, 7, 8), "gpt2-xl": (13, 14, 15, 16, 17), "gpt-j": (3, 4, 5, 6, 7, 8)}
"""Published layers of MEMIT and AlphaEdit."""


def projected(shape: str, device: str, precision: str = "float32", batch: int = BATCH, steps: int = 25, **sizes) -> str:
    """Seconds per edit in a batch, 25 search steps without an early end, peak memory, and hours of 10,000 edits.

    Args:
        precision: of matrix products in forward passes.
    """
    subject = random_model(shape, device, count=128, **sizes)
    subject = replace(subject, lm=replace(subject.lm, precision=getattr(torch, precision)))
    blocks = len(subject.lm.anatomy.blocks)
    layers = tuple(layer for layer in LAYERS.get(shape, (0, 1)) if layer < blocks) or (0,)
    rows = []
    for kind in ("memit", "alphaedit"):
        forget_peak_memory(device)
        settings = declaration(kind).Settings(batch=batch, layers=layers, steps=steps, **SEARCH)
        editor, memory = prepared(subject, kind, settings)
        facts = subject.facts[: 2 * batch]
        editor.edit(subject.lm, memory, facts[:batch])  # the first call chooses kernels
        edit = seconds(lambda e=editor, m=memory, f=facts: e.edit(subject.lm, m, f[batch:])) / batch
        score = seconds(lambda f=facts: score_facts(subject.lm, f[:batch])) / batch
        hours = EDITS * (edit + 2 * score) / 3600  # each fact is scored after its edit and at the end
        rows.append((kind, edit, score, hours, peak_memory(device)))
        del editor, memory  # and what it has gathered, which the next one gathers anew
    columns = (
        "editor",
        "seconds per edit",
        "scoring, a fact",
        "hours of 10,000 edits, scored twice",
        "peak memory, MB",
    )
    return table(columns, rows)
