"""Text for second moments: of a file, and where that is missing or too short, by the model itself."""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from normgrowth.errors import ArtefactError, ModelError
from normgrowth.lm.free_text import write_documents
from normgrowth.lm.model import LanguageModel
from normgrowth.seeds import derive
from normgrowth.sources.text import documents, windows

TOKENS_PER_UNIT = 10
"""Least tokens for a second moment, in units of the keys' width."""

DOCUMENT_TOKENS = 256
"""Most tokens of a document that the model writes."""

TOP_K = 50
"""Most probable tokens that its text is drawn from."""


class Text(NamedTuple):
    """Windows of text [count, tokens], and where their tokens come from."""

    windows: torch.Tensor
    read: int  # tokens of a file
    written: int  # tokens that the model wrote itself


def text_for_moments(lm: LanguageModel, file: Path | None, tokens: int, window: int, seed: int) -> Text:
    """Windows of text for second moments: `TOKENS_PER_UNIT` tokens for each unit of a key's width, or more.

    Args:
        file: text that is read first, so many `tokens` of it or as many as are needed; None for none.
        tokens: wanted of the file.

    Raises:
        ArtefactError: when the file is no text, or holds less than a window.
        ModelError: when a window is longer than the model's context, or the model writes no text.
    """
    least = TOKENS_PER_UNIT * max(projection.matrix.shape[1] for projection in lm.anatomy.down_projections)
    parts: list[torch.Tensor] = []
    if file is not None:
        count = windows_in(lm, file, window, max(tokens, least))
        parts.append(windows(file, lm.tokenizer, window, count, seed, "second moments"))
    read = sum(part.numel() for part in parts)
    while (there := sum(part.numel() for part in parts)) < least:
        parts.append(_written(lm, least - there, window, derive(seed, "text by the model", len(parts))))
    return Text(torch.cat(parts), read, there - read)


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


def _written(lm: LanguageModel, tokens: int, window: int, seed: int) -> torch.Tensor:
    """Windows [count, window] of text that the model writes, of about so many tokens.

    Raises:
        ModelError: when the model ends its texts at once.
    """
    wanted = max(tokens, 2 * window)
    said = f"the model writes {wanted:,} tokens of text for second moments"
    print(f"{said}; a longer text (--text, or text=) would spare this", file=sys.stderr, flush=True)
    length = DOCUMENT_TOKENS if lm.context is None else min(DOCUMENT_TOKENS, lm.context)
    try:
        texts = write_documents(lm, wanted, length, TOP_K, seed)
    except ModelError as error:
        raise ModelError(f"no second moments: {error} (--text, or text=)") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "written.txt"
        file.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        # Read again, so that text of the model is cut as any other.
        count = windows_in(lm, file, window, tokens + window)
        return windows(file, lm.tokenizer, window, count, seed, "second moments")
