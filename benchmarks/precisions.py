"""Searches in float32 and in bfloat16 on one model: seconds, and how far the targets are apart."""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.subjects import Subject
from benchmarks.timing import interleaved, table
from normgrowth.editors import memit, r_rome
from normgrowth.editors.locate.search import Search, Targets, search_targets
from normgrowth.lm.model import LanguageModel

WORKS = (("R-ROME, one fact", r_rome, "mlp_output", 1), ("MEMIT, a fact of 8", memit, "residual", 8))
CONTEXTS = 3
"""Contexts of a fact: as few as small studies of real models take, so that reading weights weighs most."""


def precisions(subject: Subject, repeats: int = 3) -> str:
    """A table of seconds per search, which takes all its steps, with the distance of the two targets."""
    rows = []
    for what, editor, site, count in WORKS:
        settings = editor.Settings(learning_rate=0.2, stop_loss=0.0).resolved(subject.lm.anatomy.n_layers)
        search = Search(((settings.edited_layers[-1], site),), settings)
        found: dict[torch.dtype, Targets] = {}

        def by(lm: LanguageModel, search: Search = search, count: int = count, found: dict = found) -> Callable:
            def run() -> None:
                contexts = subject.contexts["uniform"][:CONTEXTS]
                found[lm.precision] = search_targets(lm, subject.facts[:count], contexts, search)

            return run

        exact, rounded = (replace(subject.lm, precision=dtype) for dtype in (torch.float32, torch.bfloat16))
        full, half = (value / count for value in interleaved(repeats, by(exact), by(rounded)))
        apart = (found[torch.float32].values - found[torch.bfloat16].values).norm() / found[torch.float32].values.norm()
        rows.append((what, full, half, full / half, f"{apart.item():.2%}"))
    return table(("seconds for a search by", "float32", "bfloat16", "times faster", "targets apart"), rows)
