"""Facts as one writes them by hand: a subject, a prompt and a target; whatever else a fact has may be left out.

    {"subject": "The Eiffel Tower", "prompt": "{} is in the city of", "target": "Rome"}

The prompt holds {} where the subject stands, or the subject itself. A fact's true object may be missing here, and is
empty then (`Fact.target_true`): the fact can be edited, and its scores compare with nothing.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from normgrowth.errors import FactError
from normgrowth.facts.orthography import caseless_key, is_blank, separator, stripped, with_blank, word_spans
from normgrowth.facts.records import SUBJECT_SLOT, Fact

NEEDED = ("subject", "prompt", "target")
OPTIONAL = ("target_true", "paraphrases", "neighbours", "relation", "case_id")
FIELDS = f"a fact has the fields {', '.join(NEEDED)}; {', '.join(OPTIONAL)} may be left out"


def plain_facts(records: Iterable[object], where: str) -> list[Fact]:
    """Facts of dictionaries with the fields above; `where` begins messages.

    `case_id` is a fact's place in the list where it is left out, and `relation` its prompt.

    Raises:
        FactError: naming the record and the field at fault, or two records of one case_id.
    """
    facts: list[Fact] = []
    places: dict[int, int] = {}
    for index, record in enumerate(records):
        fact = _fact(record, index, f"{where}: record {index}")
        if fact.case_id in places:
            raise FactError(
                f"{where}: record {index}: case_id {fact.case_id} stands in record {places[fact.case_id]} already"
            )
        places[fact.case_id] = index
        facts.append(fact)
    return facts


def _fact(record: object, index: int, where: str) -> Fact:
    """The fact of a dictionary.

    Raises:
        FactError: naming the field at fault.
    """
    if not isinstance(record, dict):
        raise FactError(f"{where} is {type(record).__name__}, not a dictionary: {FIELDS}")
    for name in record:
        if name not in NEEDED + OPTIONAL:
            near = get_close_matches(str(name), NEEDED + OPTIONAL, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise FactError(f"{where}: field {name!r} is unknown: {hint}{FIELDS}")
    subject, prompt, target = (_text(record, name, where) for name in NEEDED)
    subject = stripped(subject)
    true = _text(record, "target_true", where) if record.get("target_true") is not None else ""
    if caseless_key(target) == caseless_key(true):
        raise FactError(f"{where}: target and target_true are both {target!r}: there is nothing to edit")
    case_id = record.get("case_id", index)
    if not isinstance(case_id, int) or isinstance(case_id, bool):
        raise FactError(f"{where}: field 'case_id' is {type(case_id).__name__}, not int")
    template = _template(prompt, subject, where)
    relation = _text(record, "relation", where) if "relation" in record else template
    prompts = _Prompts(template, _texts(record, "paraphrases", where), _texts(record, "neighbours", where))
    if target[0].isspace() and not all(separator(text, stripped(target)) for text in prompts.all_of(subject)):
        prompts = prompts.with_blanks()
    return Fact(
        case_id=case_id,
        subject=subject,
        prompt=prompts.own,
        relation=relation,
        target_new=stripped(target),
        target_true=stripped(true),
        paraphrases=prompts.paraphrases,
        neighbours=prompts.neighbours,
    )


class _Prompts(NamedTuple):
    """The prompts of a fact."""

    own: str  # holds {} where the subject stands
    paraphrases: tuple[str, ...]
    neighbours: tuple[str, ...]

    def all_of(self, subject: str) -> tuple[str, ...]:
        """All of them, with the subject in place."""
        return (self.own.replace(SUBJECT_SLOT, subject), *self.paraphrases, *self.neighbours)

    def with_blanks(self) -> "_Prompts":
        """The same, so that objects follow with a blank in scripts that put none there."""
        others = (tuple(map(with_blank, texts)) for texts in (self.paraphrases, self.neighbours))
        return _Prompts(with_blank(self.own), *others)


def _template(prompt: str, subject: str, where: str) -> str:
    """The prompt with {} once, where the subject stands.

    Raises:
        FactError: when it holds neither, or {} more than once.
    """
    if (slots := prompt.count(SUBJECT_SLOT)) == 1:
        return prompt
    if slots:
        raise FactError(
            f"{where}: prompt {prompt!r} holds {{}} {slots} times: it belongs once where the subject stands"
        )
    for start, end in word_spans(prompt, subject):
        return prompt[:start] + SUBJECT_SLOT + prompt[end:]
    raise FactError(
        f"{where}: prompt {prompt!r} holds neither {{}} nor the subject {subject!r} as words of their own: put {{}} "
        "where the subject stands"
    )


def _text(record: dict, name: str, where: str) -> str:
    """A field's text.

    Raises:
        FactError: when it is missing, no text or empty.
    """
    if name not in record:
        raise FactError(f"{where}: field {name!r} is missing: {FIELDS}")
    value = record[name]
    if not isinstance(value, str):
        raise FactError(f"{where}: field {name!r} is {type(value).__name__}, not str")
    if is_blank(value):
        raise FactError(f"{where}: field {name!r} is empty")
    return value


def _texts(record: dict, name: str, where: str) -> tuple[str, ...]:
    """A field's texts; none where it is missing.

    Raises:
        FactError: when it is no list, or holds something else than texts.
    """
    values = record.get(name, ())
    if not isinstance(values, list | tuple):
        raise FactError(f"{where}: field {name!r} is {type(values).__name__}, not a list of prompts")
    for value in values:
        if not isinstance(value, str) or is_blank(value):
            raise FactError(f"{where}: field {name!r} holds {value!r}, not a prompt")
    return tuple(values)
