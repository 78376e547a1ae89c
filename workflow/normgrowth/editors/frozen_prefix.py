"""What a target search cannot change, computed once.

Offsets enter at the subject's last token in layer L. The tokens before it keep their attention keys and values in every
layer, because attention is causal, and the layers below L keep all their outputs. So a search step runs only the tokens
from the subject's last on, and only the layers from L on; it differs from a full pass by rounding alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import DynamicCache

from normgrowth.capture import Place, reading
from normgrowth.editors.search_rows import Rows
from normgrowth.language_model import LanguageModel


@dataclass(frozen=True)
class FrozenPrefix:
    """Rows of a search from their subjects' last tokens on, and all that stands before and below."""

    ids: torch.Tensor  # [rows, tokens]
    positions: torch.Tensor  # [rows, tokens], in the whole row
    mask: torch.Tensor  # [rows, prefix + tokens]
    keys: tuple[torch.Tensor, ...]  # per layer [rows, heads, prefix, head width]; a stub below `first`
    values: tuple[torch.Tensor, ...]
    first: int  # the lowest layer that is run
    below: torch.Tensor | None  # output of the block below it, [rows, tokens, width]
    entries: int | None  # of the tuple that blocks return; None where they return a bare tensor

    def select(self, rows: torch.Tensor) -> "FrozenPrefix":
        """Only these rows."""
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
        with _skipping(lm.anatomy.blocks[: self.first], given):
            return lm.hidden(self.ids, self.mask, positions=self.positions, past=cache)


@torch.no_grad()
def freeze(lm: LanguageModel, rows: Rows, first: int) -> tuple[FrozenPrefix, torch.Tensor]:
    """Run whole rows once; return what stays, and their final-norm outputs [rows, tokens, width].

    Args:
        first: the lowest layer whose output a search may change within the tokens that it runs.
    """
    place: Place = (first - 1, "residual")
    with reading(lm.anatomy, [place] if first else []) as seen, _entries(lm.anatomy.blocks[0]) as entries:
        cache = DynamicCache()
        hidden = lm.hidden(rows.ids, rows.mask, past=cache)
    prefix = int(rows.subject_last.max())
    tokens = int((rows.mask.sum(dim=1) - rows.subject_last).max())
    columns = torch.arange(tokens, device=rows.ids.device)
    positions = rows.subject_last[:, None] + columns
    at = positions.clamp(max=rows.ids.shape[1] - 1)  # what lies beyond a row's end is masked
    every_row = torch.arange(len(rows.ids), device=rows.ids.device)[:, None]
    within = columns < (rows.mask.sum(dim=1) - rows.subject_last)[:, None]
    # Prefixes end together: sliding windows count places in the cache, so the one before the subject must be the last.
    before = rows.subject_last[:, None] - prefix + torch.arange(prefix, device=rows.ids.device)

    def of_prefix(kept: torch.Tensor) -> torch.Tensor:
        places = every_row.to(kept.device), before.clamp(min=0).to(kept.device)
        return kept.transpose(1, 2)[places].transpose(1, 2)

    keys, values = [], []
    for layer, of_layer in enumerate(cache.layers):
        stub = of_layer.keys.new_zeros(len(rows.ids), 1, prefix, 1)  # only its length is looked at
        keys.append(of_prefix(of_layer.keys) if layer >= first else stub)
        values.append(of_prefix(of_layer.values) if layer >= first else stub)
    frozen = FrozenPrefix(
        rows.ids[every_row, at],
        at,
        torch.cat([before >= 0, within], dim=1).long(),
        tuple(keys),
        tuple(values),
        first,
        seen[place][every_row, at] if first else None,
        entries[0],
    )
    return frozen, hidden


@contextmanager
def _entries(block: nn.Module) -> Iterator[list[int | None]]:
    """Of the tuple that a block returns in the pass inside, the number of entries; None for a bare tensor."""
    found: list[int | None] = []
    handle = block.register_forward_hook(
        lambda _block, _inputs, output: found.append(len(output) if isinstance(output, tuple) else None)
    )
    try:
        yield found
    finally:
        handle.remove()


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
