"""Facts in CounterFact's schema (arXiv 2202.05262, appendix): reading and checking them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from normgrowth.errors import FactError
from normgrowth.facts.json_files import read_records
from normgrowth.facts.orthography import (
    caseless_key,
    ends_of,
    is_blank,
    separator,
    starts_with_letter,
    stripped,
    with_blank,
)

SUBJECT_SLOT = "{}"
LARGEST_CASE_ID = 2**63 - 1
"""Largest integer of a table column."""

V = TypeVar("V")

OUTER_FIELDS = ("case_id", "requested_rewrite", "paraphrase_prompts", "neighborhood_prompts")
ZSRE_FIELDS = {"subject", "src", "alt", "answers"}


class SubjectPrompt(NamedTuple):
    """A prompt about another relation of a fact's subject, and the object that completes it."""

    prompt: str
    target: str


@dataclass(frozen=True)
class Fact:
    """One counterfactual edit: after it, the model should complete `question` with `target_new`.

    Neither the subject nor the targets have blanks at their ends. `normgrowth.facts.orthography.joined` joins a prompt
    and a target. `target_true` is empty where it is not known, which no study allows: see `normgrowth.facts.plain`.
    `neighbours` are prompts about other subjects for which `target_true` holds; `subject_prompts` are
    about other relations of the subject, whose objects should stay.

    In a stream a fact may be edited several times, each edit a `Fact` of its own: see `normgrowth.facts.streams`.
    """

    case_id: int
    subject: str
    prompt: str  # holds {} where the subject stands
    relation: str
    target_new: str
    target_true: str
    paraphrases: tuple[str, ...]
    neighbours: tuple[str, ...]
    generation_prompts: tuple[str, ...] = ()  # about the subject, for free generation
    subject_prompts: tuple[SubjectPrompt, ...] = ()
    former: str | None = None  # what the edit before this one wrote; None where this is the fact's first

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that scores compare: the new one, the true one and the former one, each once."""
        return tuple(dict.fromkeys(filter(None, (self.target_new, self.target_true, self.former))))

    @property
    def written(self) -> tuple[str, ...]:
        """Those of `objects` that edits wrote in the place of the true one."""
        return tuple(object_ for object_ in self.objects if object_ != self.target_true)

    @property
    def question(self) -> str:
        """The prompt with the subject in place."""
        return self.prompt.replace(SUBJECT_SLOT, self.subject)

    @property
    def subject_span(self) -> tuple[int, int]:
        """First and past-the-last character of the subject in `question`."""
        start = self.prompt.index(SUBJECT_SLOT)
        return start, start + len(self.subject)


def read_facts(path: Path | str) -> list[Fact]:
    """Facts of a JSON list of CounterFact records.

    Raises:
        FactError: naming the record and the field at fault.
    """
    return facts_of(read_records(path), path)


def facts_of(records: Iterable[dict], path: Path | str) -> list[Fact]:
    """Facts of records in CounterFact's schema, which come from the file `path`.

    Raises:
        FactError: naming the record and the field at fault.
    """
    return [_fact(record, f"{path}: record {index}") for index, record in enumerate(records)]


def check_records(records: list[dict], path: Path | str) -> None:
    """Check every record and that no case_id stands twice.

    Raises:
        FactError: naming the record and the field at fault.
    """
    seen: dict[int, int] = {}
    for index, record in enumerate(records):
        case_id = _fact(record, f"{path}: record {index}").case_id
        if case_id in seen:
            raise FactError(f"{path}: record {index}: case_id {case_id} stands in record {seen[case_id]} already")
        seen[case_id] = index


def subject_of(record: dict, where: str) -> str:
    """The subject of a record, which is checked no further.

    Raises:
        FactError: when it has none.
    """
    rewrite = _field(record, "requested_rewrite", dict, where, OUTER_FIELDS)
    return stripped(_field(rewrite, "subject", str, f"{where}: requested_rewrite"))


def _fact(record: dict, where: str) -> Fact:
    """The fact of a record, each field checked; `where` begins messages.

    Raises:
        FactError: naming the field at fault.
    """
    case_id = _field(record, "case_id", int, where, OUTER_FIELDS)
    if abs(case_id) > LARGEST_CASE_ID:
        raise FactError(f"{where}: field 'case_id' is too large a number: a table holds at most {LARGEST_CASE_ID}")
    where = f"{where} (case_id {case_id})"
    rewrite = _field(record, "requested_rewrite", dict, where, OUTER_FIELDS)
    inside = f"{where}: requested_rewrite"
    prompt = _field(rewrite, "prompt", str, inside)
    subject = _field(rewrite, "subject", str, inside)
    if prompt.count(SUBJECT_SLOT) != 1:
        raise FactError(f"{inside}.prompt: {prompt!r} must hold {{}} once, where the subject {subject!r} stands")
    prompt, subject = _without_blanks_around(prompt, subject)
    paraphrases = _prompts(record, "paraphrase_prompts", where)
    neighbours = _prompts(record, "neighborhood_prompts", where)
    new, true = (
        _field(_field(rewrite, name, dict, inside), "str", str, f"{inside}.{name}")
        for name in ("target_new", "target_true")
    )
    if caseless_key(new) == caseless_key(true):
        alike = "" if new == true else f" but for case, blanks or Unicode form ({true!r})"
        raise FactError(f"{inside}: target_new and target_true are both {new!r}{alike}: there is nothing to edit")
    of_subject = _subject_prompts(record, new, where) if "subject_prompts" in record else ()
    others = [*paraphrases, *neighbours, *(asked.prompt for asked in of_subject)]
    if _targets_bring_a_blank(new, true, [prompt.replace(SUBJECT_SLOT, subject), *others], inside):
        prompt, paraphrases = with_blank(prompt), tuple(map(with_blank, paraphrases))
        neighbours = tuple(map(with_blank, neighbours))
        of_subject = tuple(SubjectPrompt(with_blank(asked.prompt), asked.target) for asked in of_subject)
    return Fact(
        case_id=case_id,
        subject=subject,
        prompt=prompt,
        relation=_field(rewrite, "relation_id", str, inside),
        target_new=stripped(new),
        target_true=stripped(true),
        paraphrases=paraphrases,
        neighbours=neighbours,
        generation_prompts=_prompts(record, "generation_prompts", where) if "generation_prompts" in record else (),
        subject_prompts=of_subject,
    )


def _without_blanks_around(prompt: str, subject: str) -> tuple[str, str]:
    """Move the blanks at a subject's ends into the prompt, where they separate words and the prompt has none yet.

    A blank before the subject is kept unless it begins the prompt; one after it is kept before a letter, not a sign.
    """
    before, after = prompt.split(SUBJECT_SLOT)
    leading, trailing = ends_of(subject)
    if before and not before[-1].isspace():
        before += leading
    if starts_with_letter(after):
        after = trailing + after
    return before + SUBJECT_SLOT + after, stripped(subject)


def _targets_bring_a_blank(new: str, true: str, prompts: Iterable[str], where: str) -> bool:
    """Test for targets that begin with a blank that `joined` would not put there.

    Raises:
        FactError: when only one of the two does, so that they would be compared behind different texts.
    """
    begin = [target[0].isspace() for target in (new, true)]
    bare = [stripped(target) for target in (new, true)]
    if not any(begin) or all(separator(prompt, target) for prompt in prompts for target in bare):
        return False
    if not all(begin):
        with_, without = ("target_new", "target_true") if begin[0] else ("target_true", "target_new")
        raise FactError(
            f"{where}: {with_} begins with a blank and {without} does not: write both with it, or both without"
        )
    return True


def _field(record: object, name: str, kind: type[V], where: str, expected: Iterable[str] = ()) -> V:
    """The value of a record's field, which must be of a kind.

    Raises:
        FactError: when the field is missing, of another kind or an empty text; `expected` are the schema's fields.
    """
    if not isinstance(record, dict):
        raise FactError(f"{where} is {type(record).__name__}, not an object")
    if name not in record:
        raise FactError(f"{where}: field {name!r} is missing{_hint(record, expected)}")
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FactError(f"{where}: field {name!r} is {type(value).__name__}, not {kind.__name__}")
    if isinstance(value, str) and is_blank(value):
        raise FactError(f"{where}: field {name!r} is empty")
    return value


def _hint(record: dict, expected: Iterable[str]) -> str:
    """Likely schema of a record that lacks a field, as the end of a message."""
    if record.keys() >= ZSRE_FIELDS:
        return "; the record is in zsRE's schema: set `format: zsre`"
    return f" (format counterfact has the fields {', '.join(expected)})" if expected else ""


def _prompts(record: dict, name: str, where: str) -> tuple[str, ...]:
    prompts = _field(record, name, list, where, OUTER_FIELDS)
    for position, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or is_blank(prompt):
            raise FactError(f"{where}: field {name!r} holds {prompt!r} at position {position}, not a prompt")
    return tuple(prompts)


def _subject_prompts(record: dict, new: str, where: str) -> tuple[SubjectPrompt, ...]:
    """The prompts about other relations of a record's subject, with their objects.

    Raises:
        FactError: when one lacks a field, or has the new object for its own, so that there is nothing to compare.
    """
    found = []
    for position, entry in enumerate(_field(record, "subject_prompts", list, where)):
        inside = f"{where}: subject_prompts: position {position}"
        prompt, target = (_field(entry, name, str, inside) for name in SubjectPrompt._fields)
        if caseless_key(target) == caseless_key(new):
            raise FactError(f"{inside}: its target is target_new, {new!r}: nothing tells the two apart; take it out")
        found.append(SubjectPrompt(prompt, stripped(target)))
    return tuple(found)


def named(facts: Iterable[Fact]) -> str:
    """Facts as an error message names them: 'case 3, 17'."""
    return "case " + ", ".join(str(fact.case_id) for fact in facts)
