"""Whether what a command will read fits its model's context: asked before the work."""

from collections.abc import Iterable, Iterator, Sequence

from normgrowth.context_length import Asked, too_long
from normgrowth.errors import FactError, ModelError
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import SLOT, encode

TOKENS_PER_BYTE = 4
SPECIAL_TOKENS = 16
"""No tokenizer gives more of either, but for rare signs: texts that are this short need not be encoded."""


def require_windows(lm: LanguageModel, asked: Asked) -> None:
    """Refuse windows and texts that are longer than the model's context.

    Raises:
        ModelError: naming the key, its value and the context's length.
    """
    if faults := too_long(asked, lm.context, "the model"):
        raise ModelError("; ".join(faults))


def require_edits(lm: LanguageModel, facts: Iterable[Fact], templates: Sequence[str] = (SLOT,)) -> None:
    """Refuse facts of which a prompt, with its object, would not fit: to be edited, and scored just after it.

    Args:
        templates: contexts that a search puts before the question.

    Raises:
        FactError: naming the case.
    """
    for fact in facts:
        require_prompts(lm, fact, _edited(fact, templates))
        require_prompts(lm, fact, scored(fact))


def scored(fact: Fact) -> Iterator[str]:
    """The texts that scoring a fact reads."""
    for prompt in (fact.question, *fact.paraphrases, *fact.neighbours):
        yield from (f"{prompt} {target}" for target in (fact.target_new, fact.target_true))


def require_prompts(lm: LanguageModel, fact: Fact, texts: Iterable[str], to_follow: int = 0) -> None:
    """Refuse a fact of which a text does not fit.

    Args:
        texts: what the model reads, but for the last token of each, which it only predicts.
        to_follow: tokens that it writes after each.

    Raises:
        FactError: naming the case.
    """
    if lm.context is None:
        return
    for text in texts:
        if TOKENS_PER_BYTE * len(text.encode()) + SPECIAL_TOKENS + to_follow <= lm.context:
            continue
        tokens = len(encode(lm.tokenizer, text).ids) + to_follow
        if tokens - 1 > lm.context:
            begin = text if len(text) <= 60 else f"{text[:57]}..."
            more = f", {to_follow} that are to follow among them" if to_follow else ""
            raise FactError(
                f"case {fact.case_id}: {begin!r} takes {tokens} tokens{more}, and the model's context holds "
                f"{lm.context}: take the record out, or shorten its prompts"
            )


def _edited(fact: Fact, templates: Sequence[str]) -> Iterator[str]:
    for template in templates:
        yield f"{template.replace(SLOT, fact.question, 1)} {fact.target_new}"
    if len(templates) > 1:
        yield f"{fact.subject} is a "  # whose last token is read
