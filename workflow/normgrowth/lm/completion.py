"""Greedy completion of a prompt as text."""

from normgrowth.lm.generate import go_on
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode


def completion(lm: LanguageModel, prompt: str, tokens: int) -> str:
    """What follows a prompt by the most probable tokens, without special ones.

    Raises:
        ModelError: when prompt and continuation are longer than the model's context.
    """
    ids = list(encode(lm.tokenizer, prompt).ids)
    (added,) = go_on(lm, [ids], tokens)
    # Decoded together, since spacing depends on both.
    before, whole = lm.tokenizer.batch_decode([ids, ids + added], skip_special_tokens=True)
    return whole[len(before) :]
