"""Running text: documents separated by blank lines, cut into windows of tokens."""

import random
import re
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from normgrowth.errors import ArtefactError
from normgrowth.facts.orthography import stripped
from normgrowth.io.encodings import read_unicode
from normgrowth.seeds import derive

_BLANK_LINES = re.compile(r"\n\s*\n")


def documents(path: Path | str) -> list[str]:
    """Documents of a text file, which blank lines separate; these may hold white space.

    Raises:
        ArtefactError: when the file is missing, no text or empty.
    """
    text = read_unicode(path, "text file", ArtefactError)
    parts = [part for part in map(stripped, _BLANK_LINES.split(text)) if part]
    if not parts:
        raise ArtefactError(f"text file {path} holds no text")
    return parts


def windows(
    path: Path | str, tokenizer: PreTrainedTokenizerBase, length: int, count: int, seed: int, purpose: str
) -> torch.Tensor:
    """Ids [count, length] of packed text without padding, from documents in a seeded order.

    Documents follow each other with an end-of-text token between; where the tokenizer puts a start token before a text,
    every window begins with it.

    Raises:
        ArtefactError: when the text is too short.
    """
    parts = documents(path)
    random.Random(derive(seed, "windows", purpose)).shuffle(parts)
    start = tokenizer("")["input_ids"][:1]
    start = start if start and start[0] == tokenizer.bos_token_id else []
    separator = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    body = length - len(start)
    stream: list[int] = []
    for part in parts:
        if len(stream) >= count * body:
            break
        stream += tokenizer(part, add_special_tokens=False)["input_ids"] + separator
    if len(stream) < count * body:
        raise ArtefactError(f"{path} holds {len(stream)} tokens, fewer than the {count * body} that {purpose} asks for")
    return torch.tensor([start + stream[i * body : (i + 1) * body] for i in range(count)])
