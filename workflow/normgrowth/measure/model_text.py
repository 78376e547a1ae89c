"""Text for second moments: of a file, and where that is missing or too short, by the model itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from normgrowth.errors import ArtefactError
from normgrowth.lm.generate import go_on
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode
from normgrowth.progress import Progress
from normgrowth.seeds import derive
from normgrowth.sources.text import documents, windows

TOKENS_PER_UNIT = 10
"""Least tokens for a second moment, in units of the keys' width."""

OPENING = 6
"""Tokens of a prompt that the model goes on from, where it writes the text itself."""

TOP_K = 50
"""Most probable tokens that this text is drawn from."""

ROWS_PER_PASS = 32


class Text(NamedTuple):
    """Windows of text [count, tokens], and where their tokens come from."""

    windows: torch.Tensor
    read: int  # tokens of a file
    written: int  # tokens that the model wrote itself


def text_for_moments(
    lm: LanguageModel, file: Path | None, prompts: Sequence[str], tokens: int, window: int, seed: int
) -> Text:
    """Windows of text for second moments.

    Args:
        file: text that is read first; None for none.
        prompts: texts from whose first tokens the model goes on, to fill up to `TOKENS_PER_UNIT` tokens for each unit
            of a key's width.
        tokens: wanted of the file.

    Raises:
        ArtefactError: when the file is no text, or holds less than a window.
        ModelError: when a window is longer than the model's context.
    """
    least = TOKENS_PER_UNIT * max(projection.matrix.shape[1] for projection in lm.anatomy.down_projections)
    parts: list[torch.Tensor] = []
    if file is not None:
        count = windows_in(lm, file, window, max(tokens, least))
        parts.append(windows(file, lm.tokenizer, window, count, seed, "second moments"))
    read = sum(part.numel() for part in parts)
    if read < least:
        parts.append(_written(lm, prompts, window, -(-(least - read) // window), seed))
    return Text(torch.cat(parts), read, sum(part.numel() for part in parts) - read)


def windows_in(lm: LanguageModel, file: Path, window: int, tokens: int) -> int:
    """Number of windows that a text file fills, of so many tokens at most.

    Raises:
        ArtefactError: when the file is no text, or holds less than a window.
    """
    between = 0 if lm.tokenizer.eos_token_id is None else 1
    found = 0
    for part in documents(file):
        found += len(lm.tokenizer(part, add_special_tokens=False)["input_ids"]) + between
        if found >= tokens:
            break
    if found < window:
        raise ArtefactError(f"text file {file} holds {found} tokens, fewer than a window of {window}: give more text")
    return max(1, min(found, tokens) // window)


def _written(lm: LanguageModel, prompts: Sequence[str], window: int, count: int, seed: int) -> torch.Tensor:
    """Windows [count, window] that the model writes, going on from the first tokens of one prompt after the other."""
    encoded = [encode(lm.tokenizer, prompt).ids for prompt in prompts]
    opening = min(OPENING, window - 1, max(map(len, encoded)))
    openings = [ids[:opening] for ids in encoded if len(ids) >= opening]
    rows: list[list[int]] = []
    with Progress(count, "windows of text by the model itself") as progress:
        for start in range(0, count, ROWS_PER_PASS):
            part = [openings[number % len(openings)] for number in range(start, min(start + ROWS_PER_PASS, count))]
            followed = go_on(lm, part, window - opening, TOP_K, derive(seed, "text by the model", start))
            rows += [[*begun, *more] for begun, more in zip(part, followed, strict=True)]
            progress.update(len(part))
    return torch.tensor(rows)
