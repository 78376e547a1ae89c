"""Free generation: does the model write the new object, and does it loop?

Probabilities under teacher forcing flatter an edit: a model may prefer the new object to the true one and still write
something else (arXiv 2502.11177). So the object is looked for in what greedy decoding gives. And a broken model repeats
itself, which the n-gram entropy of its text shows (ROME, arXiv 2202.05262, section 3.4: fluency).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from normgrowth.facts.orthography import begins_with, words
from normgrowth.facts.records import Fact
from normgrowth.lm.generate import go_on
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_prompts, require_windows
from normgrowth.lm.tokens import encode, encode_with_target

TOP_K = 5
"""Most probable tokens that free texts are drawn from."""

ENTROPY_WEIGHTS = {2: 2 / 3, 3: 4 / 3}
"""Weights of the entropies of 2-grams and 3-grams in their mean, as in ROME's evaluation."""

ROOM = 4
"""Tokens generated beyond the object's own number: the model may split the same words into more pieces."""


def generation_scores(lm: LanguageModel, facts: Sequence[Fact], tokens: int, seed: int) -> pd.DataFrame:
    """Columns `generation_match` and `entropy` of table `scores`, one row per fact in order.

    Args:
        tokens: length of each free text, from which entropies are taken.
        seed: seed of the draws; a fact's depend on its place among `facts`.
    """
    return pd.DataFrame({"generation_match": matches(lm, facts), "entropy": entropies(lm, facts, tokens, seed)})


def matches(lm: LanguageModel, facts: Sequence[Fact]) -> list[float]:
    """1 where greedy decoding of a fact's prompt begins with its new object and ends the word there, else 0."""
    encoded = [encode_with_target(lm.tokenizer, fact.question, fact.target_new) for fact in facts]
    prompts = [ids[:first] for ids, first in encoded]
    followed = go_on(lm, prompts, max((len(ids) - first for ids, first in encoded), default=0) + ROOM)
    # The object is compared in the tokenizer's normal form, the only one that the model can generate.
    wanted = _continuations(lm, prompts, [list(ids[first:]) for ids, first in encoded])
    return [float(begins_with(*both)) for both in zip(_continuations(lm, prompts, followed), wanted, strict=True)]


def require_generations(lm: LanguageModel, facts: Sequence[Fact], tokens: int) -> None:
    """Refuse free texts that would leave the model's context.

    Raises:
        ModelError: when `tokens` alone are too many, naming the key of the study.
        FactError: naming the case whose prompt leaves no room for them.
    """
    if facts:
        require_windows(lm, {"measure.generation_tokens": tokens})
    encoded = [encode_with_target(lm.tokenizer, fact.question, fact.target_new) for fact in facts]
    to_match = max((len(ids) - first for ids, first in encoded), default=0) + ROOM
    for fact in facts:
        require_prompts(lm, fact, [fact.question], to_follow=to_match)
        require_prompts(lm, fact, fact.generation_prompts[:1], to_follow=tokens)


def entropies(lm: LanguageModel, facts: Sequence[Fact], tokens: int, seed: int) -> list[float]:
    """Mean n-gram entropy, in bits, of free texts from each fact's first generation prompt; NaN where it has none."""
    told = [number for number, fact in enumerate(facts) if fact.generation_prompts]
    prompts = [encode(lm.tokenizer, facts[number].generation_prompts[0]).ids for number in told]
    texts = _continuations(lm, prompts, go_on(lm, prompts, tokens, TOP_K, seed))
    found = dict(zip(told, map(ngram_entropy, texts), strict=True))
    return [found.get(number, np.nan) for number in range(len(facts))]


def ngram_entropy(text: str) -> float:
    """Mean of the weighted entropies, in bits, of a text's 2-grams and 3-grams of words; 0 for what has none."""
    found = words(text)
    return float(np.mean([weight * _entropy(found, n) for n, weight in ENTROPY_WEIGHTS.items()]))


def _entropy(sequence: list[str], n: int) -> float:
    counts = Counter(zip(*(sequence[i:] for i in range(n)), strict=False))
    shares = np.array([*counts.values()], dtype=float)
    if not len(shares):
        return 0.0
    shares /= shares.sum()
    return float(-(shares * np.log2(shares)).sum())


def _continuations(lm: LanguageModel, prompts: list[tuple[int, ...]], followed: list[list[int]]) -> list[str]:
    """The text that each continuation adds to its prompt; both are decoded together, since spacing depends on both."""
    texts = []
    for prompt, tokens in zip(prompts, followed, strict=True):
        before, whole = lm.tokenizer.batch_decode(
            [list(prompt), [*prompt, *tokens]], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        texts.append(whole[len(before) :])
    return texts
