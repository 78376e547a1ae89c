"""Internal activations on fixed probes, in memory and as rows of Parquet.

Probes are prompts of facts, measured at the subject's last and at the last token, and windows of running text, measured
at a few positions of each, and as the mean over a window (never at the first token, where many models have
an outlier).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from normgrowth.facts.records import Fact
from normgrowth.io.schemas import vector_schema
from normgrowth.lm.hooks import SITES, Place, reading
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, last_token_of

POSITIONS_PER_WINDOW = 4
ROWS_PER_PASS = 64
MEMORY = 2**31
"""Most bytes of activations in memory: deep models are measured a few layers at a time."""


class Where(NamedTuple):
    """The place and the probes that a set of activations is from.

    `token` is `subject_last` or `last` of facts, and of text `all` (a few positions of every window) or `mean`
    (over a window).
    """

    probe: str
    token: str
    layer: int
    site: str

    @property
    def per_probe(self) -> int:
        """Vectors that one probe gives; they share a context and are not independent."""
        return POSITIONS_PER_WINDOW if self.token == "all" else 1


Activations = dict[Where, torch.Tensor]
"""Vectors [n, width] in float32, by place and probes."""


@dataclass(frozen=True)
class Probes:
    """Token ids to run, and where to look in each row."""

    facts: list[tuple[int, ...]]  # of each prompt
    subject_last: list[int]  # position in each prompt
    text: torch.Tensor  # [windows, tokens]

    def vectors(self) -> int:
        """Number of vectors that one layer and site give."""
        return 2 * len(self.facts) + (POSITIONS_PER_WINDOW + 1) * len(self.text)


def make_probes(lm: LanguageModel, facts: list[Fact], text: torch.Tensor) -> Probes:
    """Probes from facts' prompts and windows of text."""
    encoded = [encode(lm.tokenizer, fact.question) for fact in facts]
    subject_last = [last_token_of(e, fact.subject_span) for e, fact in zip(encoded, facts, strict=True)]
    return Probes([e.ids for e in encoded], subject_last, text)


def layer_groups(lm: LanguageModel, probes: Probes) -> Iterator[range]:
    """Consecutive layers whose activations, of two models, fit into `MEMORY`."""
    widths = [3 * lm.anatomy.hidden_size + p.matrix.shape[1] for p in lm.anatomy.down_projections]
    per_layer = 2 * 4 * probes.vectors() * max(widths)
    at_once = max(1, MEMORY // per_layer)
    for start in range(0, lm.anatomy.n_layers, at_once):
        yield range(start, min(start + at_once, lm.anatomy.n_layers))


@torch.no_grad()
def activations_on(
    lm: LanguageModel, probes: Probes, layers: Sequence[int], sites: Sequence[str] = SITES
) -> Activations:
    """Activations at some layers and sites, under the current weights."""
    places = [(layer, site) for layer in layers for site in sites]
    parts: dict[Where, list[torch.Tensor]] = {}

    def run(ids: torch.Tensor, mask: torch.Tensor) -> dict[Place, torch.Tensor]:
        with reading(lm.anatomy, places, stop=True) as seen:
            lm.hidden(ids, mask)
        return seen

    def keep(probe: str, token: str, place: Place, vectors: torch.Tensor) -> None:
        parts.setdefault(Where(probe, token, *place), []).append(vectors.float().cpu())

    for start in range(0, len(probes.facts), ROWS_PER_PASS):
        rows = probes.facts[start : start + ROWS_PER_PASS]
        each = torch.arange(len(rows), device=lm.device)
        last = torch.tensor([len(row) - 1 for row in rows], device=lm.device)
        subject_last = torch.tensor(probes.subject_last[start : start + ROWS_PER_PASS], device=lm.device)
        for place, activation in run(*lm.pad(rows)).items():  # [rows, tokens, width]
            keep("facts", "subject_last", place, activation[each, subject_last])
            keep("facts", "last", place, activation[each, last])
    spread = torch.linspace(0, probes.text.shape[1] - 1, POSITIONS_PER_WINDOW + 1)[1:].long()
    for ids in probes.text.split(ROWS_PER_PASS):
        ids = ids.to(lm.device)
        for place, activation in run(ids, torch.ones_like(ids)).items():  # [windows, tokens, width]
            keep("text", "all", place, activation[:, spread.to(lm.device)].flatten(0, 1))
            keep("text", "mean", place, activation[:, 1:].mean(dim=1))
    return {where: torch.cat(vectors) for where, vectors in parts.items()}


def layers_named(lm: LanguageModel, layers: Sequence[int]) -> list[int]:
    """Layer numbers, ascending: negative ones count from the end, ones that the model lacks are left out."""
    depth = lm.anatomy.n_layers
    return sorted({layer % depth for layer in layers if -depth <= layer < depth})


def site_width(lm: LanguageModel, site: str) -> int:
    """Entries of one vector at a site."""
    return lm.anatomy.down_projections[0].matrix.shape[1] if site == "mlp_key" else lm.anatomy.hidden_size


def vector_groups(
    lm: LanguageModel, probes: Probes, layers: Sequence[int], site: str, identity: Mapping[str, object]
) -> Iterator[pa.RecordBatch]:
    """Activations themselves at a site, one row per vector and one row group per layer, probe and token.

    One layer's vectors are in memory at a time.

    Args:
        identity: values of the identity columns.

    Returns:
        Columns of `vector_schema`: the identity columns, `probe, token, layer, site`, `number` and `vector`.
    """
    schema = vector_schema(site_width(lm, site))
    for layer in layers:
        for where, vectors in activations_on(lm, probes, [layer], [site]).items():
            count, width = vectors.shape
            constant = {**identity, **where._asdict()}
            columns = [pa.array([constant[name]] * count, schema.field(name).type) for name in schema.names[:-2]]
            flat = pa.array(np.ascontiguousarray(vectors.numpy()).ravel(), pa.float32())
            columns += [pa.array(range(count), pa.int32()), pa.FixedSizeListArray.from_arrays(flat, width)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
