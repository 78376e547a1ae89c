"""Text that a model writes: running text for models of which nobody has any at hand.

Second moments of keys over such text are those of the model's own distribution. Its perplexity after edits tells how
far the edited model has left the unedited one: where all tokens could be drawn (`top_k` the size of the vocabulary),
the mean change of the loss on texts drawn from the unedited model p_0 is the divergence KL(p_0 || p_t) per token.
"""

import unicodedata

from normgrowth.errors import ModelError
from normgrowth.facts.orthography import is_blank
from normgrowth.lm.generate import go_on
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode
from normgrowth.seeds import derive

OPENINGS = (
    "The", "In the", "A", "It was", "When", "There are", "One of", "After", "This is", "He", "She", "They", "We",
    "If you", "Many", "At first", "During", "For", "As a", "Although", "According to", "People", "How", "What",
    "Today", "On the", "By", "Some", "Most", "Every", "Once", "Since",
)  # fmt: skip
"""Openings that documents take in turn: a model's own first word differs little from document to document."""


BATCH = 64
"""Documents that are drawn together."""


def write_documents(lm: LanguageModel, tokens: int, length: int, top_k: int, seed: int) -> list[str]:
    """Documents drawn from a model, each a continuation of one of `OPENINGS`.

    Args:
        tokens: in all documents together; the last batch may bring more.
        length: most tokens of a document, its opening included; it ends before the first end-of-text token.
        top_k: most probable tokens that each token is drawn from.

    Returns:
        Texts without blank lines and special tokens, none of them empty.

    Raises:
        ModelError: when `length` exceeds the model's context, or the model ends nearly every document at once.
    """
    openings = [encode(lm.tokenizer, opening).ids for opening in OPENINGS]
    room = length - max(map(len, openings))
    texts: list[str] = []
    written = batches = 0
    while written < tokens:
        prompts = [
            openings[(len(texts) + number) % len(openings)] for number in range(min(BATCH, -(-tokens // length)))
        ]
        drawn = go_on(lm, prompts, room, top_k, derive(seed, "free text", batches))
        kept = [before_end(ids, lm.tokenizer.eos_token_id) for ids in drawn]
        texts += [_text(lm, [*prompt, *ids]) for prompt, ids in zip(prompts, kept, strict=True)]
        written += sum(len(prompt) + len(ids) for prompt, ids in zip(prompts, kept, strict=True))
        batches += 1
        if sum(map(len, kept)) < len(kept):
            raise ModelError("the model ends its texts at their first words: give the study a text of another source")
    return [text for text in texts if text]


def before_end(ids: list[int], end: int | None) -> list[int]:
    """The tokens before the first end-of-text token."""
    return ids[: ids.index(end)] if end in ids else ids


def _text(lm: LanguageModel, ids: list[int]) -> str:
    """Text of token ids, without blank lines and without control characters, which no text file may hold."""
    (text,) = lm.tokenizer.batch_decode([ids], skip_special_tokens=True)
    lines = ["".join(c for c in line if unicodedata.category(c) != "Cc").strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if not is_blank(line))
