"""zsRE as MEND published it (arXiv 2110.11309), read into CounterFact's schema.

A record holds a question about a subject (`src`), its rephrasing, the true answers and an alternative answer (`alt`).
The edit is the counterfactual one: the alternative becomes the new target and the first answer is the true one, so that
a score compares two answers and the true one really is true. (The code of MEMIT and its descendants edits in `answers`
and compares with nothing.) Question templates stand for relations. The questions of a record's locality part (`loc`)
have answers of their own, whereas a fact's neighbours share its true answer, so a fact of zsRE has no neighbours.
"""

import unicodedata
from collections import Counter
from pathlib import Path

from normgrowth.errors import FactError
from normgrowth.facts.json_files import read_records
from normgrowth.facts.records import SUBJECT_SLOT, ZSRE_FIELDS
from normgrowth.facts.writing import same, stripped, word_spans

TEXTS = ("subject", "src", "alt")


def read_zsre(path: Path | str) -> list[dict]:
    """The records of a zsRE file in CounterFact's schema; `case_id` is a record's place in the file.

    Records with nothing to edit are left out: see `convert_zsre`.

    Raises:
        FactError: naming the record and the field at fault.
    """
    return convert_zsre(path)[0]


def convert_zsre(path: Path | str) -> tuple[list[dict], Counter[str]]:
    """Records as `read_zsre` gives them, and how many are left out for which reason.

    Raises:
        FactError: naming the record and the field at fault.
    """
    records, left_out = [], Counter()
    for index, raw in enumerate(read_records(path)):
        _check(raw, f"{path}: record {index}")
        if reason := _not_editable(raw):
            left_out[reason] += 1
        else:
            records.append(_record(raw, index))
    if not records:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        raise FactError(f"{path} holds no record with an alternative to the true answer that can be edited ({reasons})")
    return records, left_out


def _check(raw: object, where: str) -> None:
    if not isinstance(raw, dict):
        raise FactError(f"{where} is {type(raw).__name__}, not an object")
    for name in TEXTS:
        if not isinstance(raw.get(name), str):
            raise FactError(
                f"{where}: field {name!r} is missing or no text: the file is not in zsRE's schema{_hint(raw)}"
            )
    answers = raw.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise FactError(f"{where}: field 'answers' is not a list of texts with at least one")
    if _subject_and_question(raw) is None:
        raise FactError(f"{where}: field 'src': {raw['src']!r} does not hold the subject {raw['subject']!r}")


def _hint(raw: dict) -> str:
    """What a record without zsRE's fields seems to be instead."""
    if "requested_rewrite" in raw:
        return "; the record is in CounterFact's: set `format: counterfact`"
    return f" (format zsre has the fields {', '.join(sorted(ZSRE_FIELDS))})"


def _not_editable(raw: dict) -> str | None:
    """Why a record is left out; None where it can be edited."""
    new, answers = same(raw["alt"]), {same(answer) for answer in raw["answers"]} - {""}
    if not new or not answers:
        return "the alternative or the answer is empty"
    if new in answers:
        return "the alternative is among the true answers"
    if new == same(raw["subject"]):
        return "the alternative is the subject itself"
    if _template(raw) is None:
        return "the subject stands only inside longer words of the question"
    return None


def _template(raw: dict) -> tuple[str, str] | None:
    """The question with a slot at the first place where the subject stands as words of its own, and the subject."""
    subject, question = _subject_and_question(raw)
    for start, end in word_spans(question, subject):
        return question[:start] + SUBJECT_SLOT + question[end:], subject
    return None


def _subject_and_question(raw: dict) -> tuple[str, str] | None:
    """The subject and the question that holds it, in composed Unicode form if they are written in different ones."""
    subject, question = stripped(raw["subject"]), raw["src"]
    if subject not in question:
        subject, question = (unicodedata.normalize("NFC", text) for text in (subject, question))
    return (subject, question) if subject and subject in question and SUBJECT_SLOT not in question else None


def _record(raw: dict, index: int) -> dict:
    """An editable record in CounterFact's schema."""
    prompt, subject = _template(raw)
    rephrased = raw.get("rephrase")
    told = isinstance(rephrased, str) and same(rephrased) not in ("", same(raw["src"]))
    return {
        "case_id": index,
        "requested_rewrite": {
            "prompt": prompt,
            "subject": subject,
            "relation_id": prompt,
            "target_new": {"str": stripped(raw["alt"])},
            "target_true": {"str": next(filter(None, map(stripped, raw["answers"])))},
        },
        "paraphrase_prompts": [rephrased] if told else [],
        "neighborhood_prompts": [],
    }
