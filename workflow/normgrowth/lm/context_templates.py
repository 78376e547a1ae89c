"""Context templates: short generated texts, put before a fact's prompt so that keys and targets hold in more than one
context.

Published code samples them without a seed and does not save them, so that two runs differ from the first edit on. Here
they are sampled once, from the unedited model under a seed, and saved.
"""

from collections.abc import Sequence

from normgrowth.facts.orthography import full_stop
from normgrowth.lm.generate import go_on
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import SLOT, encode
from normgrowth.seeds import derive

TOP_K = 5
LENGTHS = (5, 10)
"""Lengths of ROME's continuations in tokens, the prompt's included."""

SEED_WORDS = ("The", "Therefore", "Because", "I", "You")
"""Words that MEMIT's continuations begin with."""

SEED_WORD_LENGTH = 10


def sample_contexts(lm: LanguageModel, seed: int, per_length: int) -> dict[str, list[str]]:
    """The two template sets of the field, the bare prompt first in each.

    `uniform` is ROME's: `per_length` continuations of the empty text at each of two lengths (ROME takes 10). `grouped`
    is MEMIT's: one continuation for each of five words. Each template holds {} once.
    """
    start = lm.tokenizer.bos_token_id
    start = lm.tokenizer.eos_token_id if start is None else start
    uniform = [
        text
        for length in LENGTHS
        for text in _continue(lm, [(start,)] * per_length, length, derive(seed, "contexts", "uniform", length))
    ]
    words = [encode(lm.tokenizer, word).ids for word in SEED_WORDS]
    grouped = [
        text
        for number, word in enumerate(words)
        for text in _continue(lm, [word], SEED_WORD_LENGTH, derive(seed, "contexts", "grouped", number))
    ]
    return {"uniform": _templates(uniform), "grouped": _templates(grouped)}


def _continue(lm: LanguageModel, prompts: Sequence[Sequence[int]], length: int, seed: int) -> list[str]:
    """Continue prompts of equal length to `length` tokens."""
    followed = go_on(lm, prompts, length - len(prompts[0]), TOP_K, seed)
    rows = [[*prompt, *tokens] for prompt, tokens in zip(prompts, followed, strict=True)]
    return lm.tokenizer.batch_decode(rows, skip_special_tokens=True)


def _templates(texts: list[str]) -> list[str]:
    plain = [" ".join(text.replace("{", " ").replace("}", " ").split()) for text in texts]
    return [SLOT] + [text + full_stop(text) + SLOT for text in plain]
