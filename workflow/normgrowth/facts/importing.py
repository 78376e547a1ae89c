"""Import of a user's facts file: CounterFact's records as they are, zsRE's converted to CounterFact's schema.

A record of zsRE, as MEND published it (arXiv 2110.11309), holds a question about a subject (`src`), its rephrasing, the
true answers and an alternative answer (`alt`). The edit is the counterfactual one: the alternative becomes the new
target and the first answer is the true one, so that a score compares two answers, one of them true. (The code
of MEMIT and its descendants edits in `answers` and compares with nothing.) Question templates stand for relations.
The questions of a record's locality part (`loc`) have answers of their own, whereas a fact's neighbours share its true
answer, so a fact of zsRE has no neighbours.
"""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from normgrowth.errors import FactError
from normgrowth.facts.json_files import read_records
from normgrowth.facts.orthography import caseless_key, stripped, word_spans
from normgrowth.facts.records import SUBJECT_SLOT, ZSRE_FIELDS, check_records, subject_of

TEXT_FIELDS = ("subject", "src", "alt")


class Imported(NamedTuple):
    """Records in CounterFact's schema, and the number of records left out, by reason."""

    records: list[dict]
    left_out: Counter[str]


class Question(NamedTuple):
    """A question of zsRE and the subject that it holds, in one Unicode form."""

    subject: str
    text: str


def take_facts(path: Path | str, schema: str, limit: int | None) -> Imported:
    """The first `limit` facts of a file in the schema `counterfact` or `zsre`, every record checked.

    Raises:
        FactError: naming the record and the field at fault.
    """
    records, left_out = _records(path, schema)
    records = records[:limit]
    check_records(records, path)
    return Imported(records, left_out)


def subjects_in(path: Path | str, schema: str, limit: int | None) -> list[str]:
    """Subjects of the facts that `take_facts` takes; nothing else of CounterFact's records is checked.

    Raises:
        FactError: when the file is no list of records, or one has no subject.
    """
    records, _ = _records(path, schema)
    return [subject_of(record, f"{path}: record {index}") for index, record in enumerate(records[:limit])]


def convert_zsre(path: Path | str) -> Imported:
    """Records of a zsRE file in CounterFact's schema; raises as `from_zsre` does."""
    return from_zsre(read_records(path), path)


def from_zsre(raws: list[dict], path: Path | str) -> Imported:
    """Records of zsRE, which come from `path`, in CounterFact's schema; `case_id` is a record's place in the list.

    Raises:
        FactError: naming the record and the field at fault, or when no record can be edited.
    """
    records: list[dict] = []
    left_out: Counter[str] = Counter()
    for index, raw in enumerate(raws):
        question = _checked_question(raw, f"{path}: record {index}")
        template = _template(question)
        if reason := _obstacle(raw):
            left_out[reason] += 1
        elif template is None:
            left_out["the subject stands only inside longer words of the question"] += 1
        else:
            records.append(_converted(raw, index, template, question.subject))
    if not records:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        raise FactError(f"{path} holds no record with an alternative to the true answer that can be edited ({reasons})")
    return Imported(records, left_out)


def _records(path: Path | str, schema: str) -> Imported:
    """All records of a file in CounterFact's schema."""
    return convert_zsre(path) if schema == "zsre" else Imported(read_records(path), Counter())


def _checked_question(raw: object, where: str) -> Question:
    """The question of a record of zsRE, once its fields are found to be there.

    Raises:
        FactError: naming the field at fault.
    """
    if not isinstance(raw, dict):
        raise FactError(f"{where} is {type(raw).__name__}, not an object")
    for name in TEXT_FIELDS:
        if not isinstance(raw.get(name), str):
            raise FactError(
                f"{where}: field {name!r} is missing or no text: the file is not in zsRE's schema{_hint(raw)}"
            )
    answers = raw.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise FactError(f"{where}: field 'answers' is not a list of texts with at least one")
    question = _question(raw)
    if question is None:
        raise FactError(f"{where}: field 'src': {raw['src']!r} does not hold the subject {raw['subject']!r}")
    return question


def _hint(raw: dict) -> str:
    """Likely schema of a record without zsRE's fields, as the end of a message."""
    if "requested_rewrite" in raw:
        return "; the record is in CounterFact's: set `format: counterfact`"
    return f" (format zsre has the fields {', '.join(sorted(ZSRE_FIELDS))})"


def _question(raw: dict) -> Question | None:
    """Subject and question, in composed form if their Unicode forms differ; None if the question lacks the subject."""
    subject, text = stripped(raw["subject"]), raw["src"]
    if subject not in text:
        subject, text = (unicodedata.normalize("NFC", part) for part in (subject, text))
    return Question(subject, text) if subject and subject in text and SUBJECT_SLOT not in text else None


def _obstacle(raw: dict) -> str | None:
    """The reason for which a record's objects cannot be edited; None where they can."""
    new, answers = caseless_key(raw["alt"]), {caseless_key(answer) for answer in raw["answers"]} - {""}
    if not new or not answers:
        return "the alternative or the answer is empty"
    if new in answers:
        return "the alternative is among the true answers"
    if new == caseless_key(raw["subject"]):
        return "the alternative is the subject itself"
    return None


def _template(question: Question) -> str | None:
    """The question with a slot at the first place where the subject stands as words of its own; None without one."""
    for start, end in word_spans(question.text, question.subject):
        return question.text[:start] + SUBJECT_SLOT + question.text[end:]
    return None


def _converted(raw: dict, index: int, template: str, subject: str) -> dict:
    """An editable record in CounterFact's schema."""
    rephrased = raw.get("rephrase")
    differs = isinstance(rephrased, str) and caseless_key(rephrased) not in ("", caseless_key(raw["src"]))
    return {
        "case_id": index,
        "requested_rewrite": {
            "prompt": template,
            "subject": subject,
            "relation_id": template,
            "target_new": {"str": stripped(raw["alt"])},
            "target_true": {"str": next(filter(None, map(stripped, raw["answers"])))},
        },
        "paraphrase_prompts": [rephrased] if differs else [],
        "neighborhood_prompts": [],
    }
