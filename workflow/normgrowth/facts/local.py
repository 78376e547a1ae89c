"""Taking facts from a user's file: what the import writes, and what the plan counts beforehand."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from normgrowth.facts.json_files import read_records
from normgrowth.facts.records import check_records, subject_of
from normgrowth.facts.zsre import convert_zsre


class Taken(NamedTuple):
    """Records in CounterFact's schema, and how many others were left out for which reason."""

    records: list[dict]
    left_out: Counter[str]


def take_facts(path: Path | str, schema: str, limit: int | None) -> Taken:
    """The first `limit` facts of a file in the schema `counterfact` or `zsre`, every record checked.

    Raises:
        FactError: naming the record and the field at fault.
    """
    records, left_out = _records(path, schema)
    records = records[:limit]
    check_records(records, path)
    return Taken(records, left_out)


def subjects_in(path: Path | str, schema: str, limit: int | None) -> list[str]:
    """The subjects of the facts that `take_facts` takes; of CounterFact's records nothing else is checked.

    Raises:
        FactError: when the file is no list of records, or one has no subject.
    """
    records, _ = _records(path, schema)
    return [subject_of(record, f"{path}: record {index}") for index, record in enumerate(records[:limit])]


def _records(path: Path | str, schema: str) -> tuple[list[dict], Counter[str]]:
    """All records of a file in CounterFact's schema, and how many others were left out for which reason."""
    return convert_zsre(path) if schema == "zsre" else (read_records(path), Counter())
