"""Facts in CounterFact's schema (arXiv 2202.05262, appendix): reading and checking them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from normgrowth.errors import FactError

SUBJECT_SLOT = "{}"


@dataclass(frozen=True)
class Fact:
    """One counterfactual edit: after it, the model should complete `question` with `target_new`.

    Targets carry no leading blank. `neighbours` are prompts about other subjects for which `target_true` holds.
    """

    case_id: int
    subject: str
    prompt: str  # holds {} where the subject stands
    relation: str
    target_new: str
    target_true: str
    paraphrases: tuple[str, ...]
    neighbours: tuple[str, ...]
    generation_prompts: tuple[str, ...] = ()  # about the subject, to be gone on with freely

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
    """Read a JSON list of CounterFact records.

    Raises:
        FactError: naming the record and the field at fault.
    """
    return [_fact(record, f"{path}: record {index}") for index, record in enumerate(read_records(path))]


def read_records(path: Path | str) -> list[dict]:
    """The raw records of a facts file: a non-empty JSON list of objects.

    Raises:
        FactError: when the file is missing or holds something else.
    """
    try:
        records = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FactError(f"facts file {path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FactError(f"{path} is not JSON: {error}") from error
    if not isinstance(records, list) or not records:
        raise FactError(f"{path} must hold a non-empty JSON list of records in CounterFact's schema")
    return records


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


def _fact(record: dict, where: str) -> Fact:
    case_id = _field(record, "case_id", int, where)
    where = f"{where} (case_id {case_id})"
    rewrite = _field(record, "requested_rewrite", dict, where)
    inside = f"{where}: requested_rewrite"
    prompt = _field(rewrite, "prompt", str, inside)
    subject = _field(rewrite, "subject", str, inside)
    if prompt.count(SUBJECT_SLOT) != 1:
        raise FactError(f"{inside}.prompt: {prompt!r} must hold {{}} once, where the subject {subject!r} stands")
    new, true = (
        _field(_field(rewrite, name, dict, inside), "str", str, f"{inside}.{name}").strip()
        for name in ("target_new", "target_true")
    )
    if new == true:
        raise FactError(f"{inside}: target_new and target_true are both {new!r}: there is nothing to edit")
    return Fact(
        case_id=case_id,
        subject=subject,
        prompt=prompt,
        relation=_field(rewrite, "relation_id", str, inside),
        target_new=new,
        target_true=true,
        paraphrases=_prompts(record, "paraphrase_prompts", where),
        neighbours=_prompts(record, "neighborhood_prompts", where),
        generation_prompts=_prompts(record, "generation_prompts", where) if "generation_prompts" in record else (),
    )


def _field(record: object, name: str, kind: type, where: str):
    if not isinstance(record, dict):
        raise FactError(f"{where} is {type(record).__name__}, not an object")
    if name not in record:
        raise FactError(f"{where}: field {name!r} is missing")
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FactError(f"{where}: field {name!r} is {type(value).__name__}, not {kind.__name__}")
    if kind is str and not value.strip():
        raise FactError(f"{where}: field {name!r} is empty")
    return value


def _prompts(record: dict, name: str, where: str) -> tuple[str, ...]:
    prompts = _field(record, name, list, where)
    for position, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt.strip():
            raise FactError(f"{where}: field {name!r} holds {prompt!r} at position {position}, not a prompt")
    return tuple(prompts)


def named(facts: Iterable[Fact]) -> str:
    """The facts as an error message names them: 'case 3, 17'."""
    return "case " + ", ".join(str(fact.case_id) for fact in facts)
