"""Early checks of context length and tokenizer: can the model read the facts and windows?"""

from collections.abc import Iterable, Iterator, Sequence

from normgrowth.errors import FactError, ModelError
from normgrowth.facts.orthography import joined, separator
from normgrowth.facts.records import Fact
from normgrowth.lm.context_length import Asked, too_long
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import SLOT, encode, encode_with_target

TOKENS_PER_BYTE = 4
SPECIAL_TOKENS = 16
"""Most special tokens per text, for a fast bound: a text that fits by it need not be encoded."""


def require_windows(lm: LanguageModel, asked: Asked) -> None:
    """Refuse windows and texts that are longer than the model's context.

    Raises:
        ModelError: naming the key, its value and the context's length.
    """
    if faults := too_long(asked, lm.context, "the model"):
        raise ModelError("; ".join(faults))


def require_edits(lm: LanguageModel, facts: Iterable[Fact], templates: Sequence[str] = (SLOT,)) -> None:
    """Refuse facts that cannot be edited, or scored just after it.

    Args:
        templates: contexts that a search puts before the question.

    Raises:
        FactError: naming the case of which a prompt with its object does not fit, or whose object has no tokens of its
            own in this tokenizer.
    """
    for fact in facts:
        require_prompts(lm, fact, _edited(fact, templates))
        require_scored(lm, fact)


def require_scored(lm: LanguageModel, fact: Fact) -> None:
    """Refuse a fact that cannot be scored.

    Raises:
        FactError: as `require_edits` does.
    """
    pairs = [(prompt, target) for prompt in _scored(fact) for target in fact.objects]
    pairs += [(prompt, target) for prompt, own in fact.subject_prompts for target in (own, *fact.written)]
    _require_pairs(lm, fact, pairs)


def require_question(lm: LanguageModel, fact: Fact) -> None:
    """Refuse a fact that the model cannot be asked about.

    Raises:
        FactError: as `require_edits` does.
    """
    _require_pairs(lm, fact, [(fact.question, fact.target_true)])


def _require_pairs(lm: LanguageModel, fact: Fact, pairs: Sequence[tuple[str, str]]) -> None:
    """Refuse a fact of which a prompt does not fit with its object, or an object has no tokens of its own."""
    require_prompts(lm, fact, (joined(*pair) for pair in pairs))
    for prompt, target in pairs:
        # A token can span prompt and target only where no blank separates them.
        if prompt == fact.question or not separator(prompt, target):
            try:
                encode_with_target(lm.tokenizer, prompt, target)
            except FactError as error:
                raise FactError(f"case {fact.case_id}: {error}") from error


def _scored(fact: Fact) -> tuple[str, ...]:
    return (fact.question, *fact.paraphrases, *fact.neighbours)


def require_prompts(lm: LanguageModel, fact: Fact, texts: Iterable[str], to_follow: int = 0) -> None:
    """Refuse a fact of which a text does not fit.

    Args:
        texts: texts that the model reads, but for the last token of each, which it only predicts.
        to_follow: number of tokens that it generates after each.

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
        yield joined(template.replace(SLOT, fact.question, 1), fact.target_new)
    if len(templates) > 1:
        yield f"{fact.subject} is a "  # whose last token is read
