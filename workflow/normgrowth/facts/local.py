"""Taking facts from a user's file: what the import writes, and what the plan counts beforehand."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from normgrowth.facts.json_files import read_records
from normgrowth.facts.records import Fact, check_records
from normgrowth.facts.zsre import convert_zsre


class Taken(NamedTuple):
    """Records in CounterFact's schema, the facts that they are, and how many others were left out for which reason."""

    records: list[dict]
    facts: list[Fact]
    left_out: Counter[str]


def take_facts(path: Path | str, schema: str, limit: int | None) -> Taken:
    """The first `limit` facts of a file in the schema `counterfact` or `zsre`, every record checked.

    Raises:
        FactError: naming the record and the field at fault.
    """
    records, left_out = convert_zsre(path) if schema == "zsre" else (read_records(path), Counter())
    records = records[:limit]
    return Taken(records, check_records(records, path), left_out)
