"""How the cost of an edit grows: with the edits before it, with the size of a batch, with the width of the model."""

import torch

from benchmarks.editors import prepared, searches, settings_of, warm_up
from benchmarks.ratios import undone
from benchmarks.subjects import Subject, random_model
from benchmarks.timing import exponent, seconds, table
from normgrowth.editors.locate.method import past_keys

BATCHES = (1, 3, 10, 30, 100)
WIDTHS = (128, 256, 512, 1024)
REMEMBERED = (100, 300, 1000, 3000, 10_000)


def growth(subject: Subject, edits: int = 60, widths: tuple[int, ...] = WIDTHS) -> str:
    """A table of seconds per edit against what grows, with the exponent b of seconds ~ size ** b."""
    rows = [
        _row("R-ROME, edits done", *_against_edits(subject, "r_rome", 1, edits)),
        _row("MEMIT in batches of 10, edits done", *_against_edits(subject, "memit", 10, 2 * edits)),
        _row("AlphaEdit's update for batches of 10, keys of earlier edits", *_against_memory(subject)),
        _row("MEMIT, size of the batch", *_against_batch(subject)),
        _row("R-ROME, width of the model", *_against_width(widths)),
    ]
    return table(("seconds per edit of", "at", "seconds", "exponent"), rows)


def _row(what: str, sizes: list[int], times: list[float]) -> tuple:
    ends = f"{sizes[0]:,} … {sizes[-1]:,}", f"{times[0]:.3g} … {times[-1]:.3g}"
    return what, *ends, f"{exponent(sizes, times):+.2f}"


def _against_edits(subject: Subject, kind: str, batch: int, edits: int) -> tuple[list[int], list[float]]:
    settings = settings_of(subject, kind, batch)
    editor, memory = prepared(subject, kind, settings)
    done, times = [], []
    warm_up(subject, editor, memory)
    with undone(subject.lm, editor.layers):
        for start in range(0, edits, batch):
            chosen = subject.facts[start : start + batch]
            times.append(seconds(lambda chosen=chosen: editor.edit(subject.lm, memory, chosen)) / batch)
            done.append(start + batch)
    return done, times


def _against_memory(subject: Subject, batch: int = 10) -> tuple[list[int], list[float]]:
    times = []
    editor, memory = prepared(subject, "alphaedit", settings_of(subject, "alphaedit", batch))
    warm_up(subject, editor, memory)
    for count in REMEMBERED:
        for layer in editor.layers:
            width = subject.lm.anatomy.down_projections[layer].matrix.shape[1]
            memory[past_keys(layer)] = torch.randn(width, count)
        with undone(subject.lm, editor.layers), searches() as searching:
            whole = seconds(lambda: editor.edit(subject.lm, memory, subject.facts[:batch]))
        times.append((whole - sum(searching)) / batch)
    return list(REMEMBERED), times


def _against_batch(subject: Subject) -> tuple[list[int], list[float]]:
    times = []
    for batch in BATCHES:
        editor, memory = prepared(subject, "memit", settings_of(subject, "memit", batch))
        warm_up(subject, editor, memory)
        with undone(subject.lm, editor.layers):
            times.append(seconds(lambda e=editor, m=memory, n=batch: e.edit(subject.lm, m, subject.facts[:n])) / batch)
    return list(BATCHES), times


def _against_width(widths: tuple[int, ...]) -> tuple[list[int], list[float]]:
    times = []
    for width in widths:
        subject = random_model("gpt2-7m", count=64, n_embd=width)
        editor, memory = prepared(subject, "r_rome", settings_of(subject, "r_rome", 1))
        chosen = subject.facts[:3]
        warm_up(subject, editor, memory)
        times.append(seconds(lambda s=subject, e=editor, m=memory, c=chosen: [e.edit(s.lm, m, [f]) for f in c]) / 3)
    return list(widths), times
