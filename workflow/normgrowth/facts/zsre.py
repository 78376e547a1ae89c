"""zsRE as MEND published it (arXiv 2110.11309), read into CounterFact's schema.

A record holds a question about a subject (`src`), its rephrasing, the true answers and an alternative answer (`alt`).
The edit is the counterfactual one: the alternative becomes the new target and the first answer is the true one, so that
a score compares two answers and the true one really is true. (The code of MEMIT and its descendants edits in `answers`
and compares with nothing.) Question templates stand for relations. The questions of a record's locality part (`loc`)
have answers of their own, whereas a fact's neighbours share its true answer, so a fact of zsRE has no neighbours.
"""

from pathlib import Path

from normgrowth.errors import FactError
from normgrowth.facts.records import SUBJECT_SLOT, read_records

TEXTS = ("subject", "src", "alt")


def read_zsre(path: Path | str) -> list[dict]:
    """The records of a zsRE file in CounterFact's schema; `case_id` is a record's place in the file.

    Records without an alternative to the true answer are left out: there is nothing to edit.

    Raises:
        FactError: naming the record and the field at fault.
    """
    converted = (_record(record, index, f"{path}: record {index}") for index, record in enumerate(read_records(path)))
    records = [record for record in converted if record is not None]
    if not records:
        raise FactError(f"{path} holds no record with an alternative to the true answer")
    return records


def _record(raw: object, index: int, where: str) -> dict | None:
    if not isinstance(raw, dict):
        raise FactError(f"{where} is {type(raw).__name__}, not an object")
    for name in TEXTS:
        if not isinstance(raw.get(name), str):
            raise FactError(f"{where}: field {name!r} is missing or no text: the file is not in zsRE's schema")
    answers = raw.get("answers")
    if not isinstance(answers, list) or not answers or not isinstance(answers[0], str):
        raise FactError(f"{where}: field 'answers' is not a list of texts with at least one")
    subject, question = raw["subject"], raw["src"]
    if not subject or subject not in question or SUBJECT_SLOT in question:
        raise FactError(f"{where}: field 'src': {question!r} does not hold the subject {subject!r}")
    new, true = raw["alt"].strip(), answers[0].strip()
    if not new or not true or new == true:
        return None
    prompt = question.replace(subject, SUBJECT_SLOT, 1)
    rephrased = raw.get("rephrase")
    return {
        "case_id": index,
        "requested_rewrite": {
            "prompt": prompt,
            "subject": subject,
            "relation_id": prompt,
            "target_new": {"str": new},
            "target_true": {"str": true},
        },
        "paraphrase_prompts": [rephrased] if isinstance(rephrased, str) and rephrased.strip() else [],
        "neighborhood_prompts": [],
    }
