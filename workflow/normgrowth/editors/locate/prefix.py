"""The part of a forward pass that a target search cannot change, computed once.

Offsets enter at the subject's last token in layer L. The tokens before it keep their attention keys and values in every
layer, because attention is causal, and the layers below L keep all their outputs. So a search step runs only the tokens
from the subject's last on, and only the layers from L on; it differs from a full pass by rounding alone.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from normgrowth.editors.locate.search_rows import Rows
from normgrowth.lm.hooks import Place, reading
from normgrowth.lm.model import LanguageModel

ROWS_TO_FREEZE = 32
"""Rows per pass over whole rows: few, so that rows of like length share a pass and little is padded."""


@dataclass(frozen=True)
class FrozenPrefix:
    """Rows of a search from their subjects' last tokens on, with kept keys, values and outputs of what is not run."""

    ids: torch.Tensor  # [rows, tokens]
    positions: torch.Tensor  # [rows, tokens], in the whole row
    mask: torch.Tensor  # [rows, prefix + tokens]
    keys: tuple[torch.Tensor, ...]  # per layer [rows, heads, prefix, head width]; a stub below `first`
    values: tuple[torch.Tensor, ...]
    first: int  # the lowest layer that is run
    below: torch.Tensor | None  # output of the block below it, [rows, tokens, width]
    entries: int | None  # of the tuple that blocks return; None where they return a bare tensor

    def select(self, rows: torch.Tensor) -> "FrozenPrefix":
        """The rows of these numbers [fewer rows]."""
        prefix = self.mask.shape[1] - self.ids.shape[1]
        longest = int(self.mask[rows, prefix:].sum(dim=1).max())
        return FrozenPrefix(
            self.ids[rows, :longest],
            self.positions[rows, :longest],
            self.mask[rows, : prefix + longest],
            tuple(keys[rows.to(keys.device)] for keys in self.keys),
            tuple(values[rows.to(values.device)] for values in self.values),
            self.first,
            None if self.below is None else self.below[rows, :longest],
            self.entries,
        )

    def hidden(self, lm: LanguageModel) -> torch.Tensor:
        """Final-norm outputs [rows, tokens, width]; column 0 belongs to the subject's last token."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys, values, layer)  # passes append to a cache, so each has its own
        given = self.below if self.entries is None else (self.below, *[None] * (self.entries - 1))
        with _skipping(lm.anatomy.blocks[: self.first], given), _attention_of_few_tokens(lm):
            return lm.hidden(self.ids, self.mask, positions=self.positions, past=cache)


class Frozen(NamedTuple):
    """Results of one pass over whole rows: what later passes reuse, and activations at the subjects' last tokens."""

    prefix: FrozenPrefix
    at_subject: dict[Place, torch.Tensor]  # activations [rows, width] at the places asked for
    hidden: torch.Tensor  # final-norm outputs [rows, width]


@torch.no_grad()
def freeze(lm: LanguageModel, rows: Rows, first: int, places: Iterable[Place]) -> Frozen:
    """Run whole rows once, and keep everything that a search does not change.

    Args:
        first: the lowest layer whose output a search may change within the tokens that it runs.
    """
    lengths = rows.mask.sum(dim=1)  # [rows]
    after = lengths - rows.subject_last  # [rows], number of tokens to run
    prefix, tokens = int(rows.subject_last.max()), int(after.max())
    columns = torch.arange(tokens, device=rows.ids.device)
    positions = rows.subject_last[:, None] + columns  # [rows, tokens]
    # Prefixes are right-aligned: sliding windows count cache entries, so the token before the subject must be the last.
    # [rows, prefix]; negative where a row's prefix is shorter.
    before = rows.subject_last[:, None] - prefix + torch.arange(prefix, device=rows.ids.device)
    below: Place = (first - 1, "residual")
    wanted = {*places, below} if first else {*places}
    keys, values = _Kept(len(rows.ids)), _Kept(len(rows.ids))
    streams, outputs, at_subject = _Kept(len(rows.ids)), _Kept(len(rows.ids)), {}
    for part in lengths.argsort().split(ROWS_TO_FREEZE):
        longest = int(lengths[part].max())
        every_row = torch.arange(len(part), device=part.device)
        subject = rows.subject_last[part]
        cache = DynamicCache()
        with reading(lm.anatomy, wanted) as seen, _entries(lm.anatomy.blocks[0]) as entries:
            # [part, longest, width]
            hidden = lm.hidden(rows.ids[part, :longest], rows.mask[part, :longest], past=cache)
        for layer, of_layer in enumerate(cache.layers):
            assert isinstance(of_layer, CacheLayerMixin)  # attention layers alone are edited
            for kept, whole in ((keys, of_layer.keys), (values, of_layer.values)):
                assert whole is not None  # the pass has filled it
                if layer < first:
                    cut = whole.new_zeros(len(part), 1, prefix, 1)  # only its length matters
                else:
                    there = every_row[:, None].to(whole.device), before[part].clamp(min=0).to(whole.device)
                    cut = whole.transpose(1, 2)[there].transpose(1, 2)  # [part, heads, prefix, head width]
                kept.put(layer, part, cut)
        if first:
            at = positions[part].clamp(max=longest - 1)  # positions beyond a row's end are masked
            streams.put(0, part, seen[below][every_row[:, None], at])
        for number, place in enumerate(places):
            outputs.put(number + 1, part, seen[place][every_row, subject])
        outputs.put(0, part, hidden[every_row, subject])
    for number, place in enumerate(places):
        at_subject[place] = outputs.of(number + 1)
    frozen = FrozenPrefix(
        rows.ids.gather(1, positions.clamp(max=rows.ids.shape[1] - 1)),
        positions.clamp(max=rows.ids.shape[1] - 1),
        torch.cat([before >= 0, columns < after[:, None]], dim=1).long(),
        keys.all(),
        values.all(),
        first,
        streams.of(0) if first else None,
        entries[0],
    )
    return Frozen(frozen, at_subject, outputs.of(0))


class _Kept:
    """Tensors [rows, ...] by number, put together from parts of the rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.tensors: dict[int, torch.Tensor] = {}

    def put(self, number: int, part: torch.Tensor, values: torch.Tensor) -> None:
        if number not in self.tensors:
            self.tensors[number] = values.new_empty(self.rows, *values.shape[1:])
        self.tensors[number][part.to(values.device)] = values

    def of(self, number: int) -> torch.Tensor:
        return self.tensors[number]

    def all(self) -> tuple[torch.Tensor, ...]:
        return tuple(self.tensors[number] for number in sorted(self.tensors))


@contextmanager
def _entries(block: nn.Module) -> Iterator[list[int | None]]:
    """Entries of the tuple that a block returns in the passes inside; None for a bare tensor."""
    found: list[int | None] = []
    handle = block.register_forward_hook(
        lambda _block, _inputs, output: found.append(len(output) if isinstance(output, tuple) else None)
    )
    try:
        yield found
    finally:
        handle.remove()


def _attention_of_few_tokens(lm: LanguageModel) -> AbstractContextManager:
    """The cheapest kernels of attention for rows of a few tokens, backward passes included.

    On CPUs the backward pass of torch's fused attention in bfloat16 takes eight times as long as plain products.
    """
    slow = lm.device.type == "cpu" and lm.precision != torch.float32
    return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()


@contextmanager
def _skipping(blocks: tuple[nn.Module, ...], output: torch.Tensor | tuple | None) -> Iterator[None]:
    """Let blocks give `output` instead of running, inside the block; hooks on them still see it."""
    own = [vars(block).get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = lambda *_, **__: output
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            del block.forward
            if forward is not None:  # a dispatched model has forwards of its own
                block.forward = forward
