"""Tokens of texts: where the subject ends, where the target begins, what stands before both.

Positions come from the tokenizer's character offsets on the whole text, special tokens from the tokenizer
itself; nothing is inferred from a model's name. Encoding pieces separately and adding their lengths, as published
code does, fails with tokenizers that add a start token or mark word starts.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from normgrowth.errors import FactError, ModelError
from normgrowth.facts.orthography import joined, without_blank

SLOT = "{}"
"""Place of the question in a context template."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text and the span of the characters each covers (0, 0 for special tokens)."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]

    def covering(self, character: int) -> list[int]:
        """Positions of the tokens that cover a character (several where its bytes are split)."""
        return [i for i, (start, end) in enumerate(self.spans) if start <= character < end]


class EncodedTarget(NamedTuple):
    """Token ids of a prompt with its target, and the position of the target's first token."""

    ids: tuple[int, ...]
    first: int


@lru_cache(maxsize=2**14)
def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> Encoded:
    """Encode a text with the special tokens the tokenizer adds, without any it would put at the end.

    Results are kept: checks of a fact's prompts and its scores encode the same texts.
    Blanks at the text's end are left out: most tokenizers join them to the next word, which is not there.

    Raises:
        ModelError: when the tokenizer gives no offsets (not a fast one).
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"tokenizer {type(tokenizer).__name__} gives no character offsets; "
            "a fast tokenizer (tokenizer.json) is needed"
        )
    encoding = tokenizer(without_blank(text), return_offsets_mapping=True)
    ids, spans = encoding["input_ids"], [tuple(span) for span in encoding["offset_mapping"]]
    length = len(ids)
    while length > 1 and spans[length - 1][0] == spans[length - 1][1] and ids[length - 1] in tokenizer.all_special_ids:
        length -= 1
    return Encoded(tuple(ids[:length]), tuple(spans[:length]))


def last_token_of(encoded: Encoded, span: tuple[int, int]) -> int:
    """Position of the last token of the characters `span`, such as the subject's.

    Raises:
        FactError: when no token covers the span's last character.
    """
    positions = encoded.covering(span[1] - 1)
    if not positions:
        raise FactError(f"no token covers characters {span}: the subject tokenizes to nothing")
    return positions[-1]


@lru_cache(maxsize=2**15)
def encode_with_target(tokenizer: PreTrainedTokenizerBase, prompt: str, target: str) -> EncodedTarget:
    """Encode a prompt and its target as one text (`joined`). Kept: a run scores the same prompts again and again.

    Raises:
        FactError: when the target has no tokens of its own, or they do not decode to it.
    """
    text = joined(prompt, target)
    start = len(without_blank(prompt))
    begin = start + len(text[start:]) - len(text[start:].lstrip())  # of the target, behind the blank
    encoded = encode(tokenizer, text)
    positions = encoded.covering(begin)
    if not positions:
        raise FactError(f"target {target!r} after {prompt!r} has no tokens of its own in this tokenizer")
    first = positions[0]
    if encoded.spans[first][0] < start:
        shared = text[slice(*encoded.spans[first])]
        raise FactError(
            f"target {target!r} after {prompt!r} has no tokens of its own in this tokenizer: one token, {shared!r}, "
            "holds the prompt's end and the target's beginning; word the prompt so that it ends in another character"
        )
    # SentencePiece may mark the word's start with a token of its own, which belongs to the target too.
    while first > 0 and encoded.spans[first - 1][0] >= start and encoded.spans[first - 1][1] > start:
        first -= 1
    decoded = str(tokenizer.decode(list(encoded.ids[first:]), clean_up_tokenization_spaces=False)).strip()
    if decoded != target and not _normalised_alike(decoded, target):
        raise FactError(f"target {target!r} after {prompt!r} decodes to {decoded!r} in this tokenizer")
    return EncodedTarget(encoded.ids, first)


def _normalised_alike(decoded: str, target: str) -> bool:
    """Test for texts that differ in Unicode form (NFKC) alone: some tokenizers bring all text to one form."""
    return unicodedata.normalize("NFKC", decoded) == unicodedata.normalize("NFKC", target.strip())


def fill(template: str, text: str, span: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Put `text` into a context template at {}; return the whole text, and the place of `span` in it.

    Where both have blanks at the slot, the template's are kept.
    """
    before, after = template.split(SLOT, 1)
    if before[-1:].isspace():
        blanks = len(text) - len(text.lstrip())
        text, span = text[blanks:], (span[0] - blanks, span[1] - blanks)
    return before + text + after, (span[0] + len(before), span[1] + len(before))


def pad(rows: Sequence[Sequence[int]], pad_id: int, device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids [rows, longest] and the attention mask of the same shape.

    Padding stands on the right because models count positions from a row's first token.
    """
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids.to(device), mask.to(device)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Padding id; the attention mask hides it, so any id will do."""
    return next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
