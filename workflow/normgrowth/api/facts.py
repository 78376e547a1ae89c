"""Facts as users give them: a file, dictionaries, or `Fact`s; said once is what is missing in them."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from normgrowth.errors import FactError
from normgrowth.facts.importing import from_zsre
from normgrowth.facts.json_files import read_records
from normgrowth.facts.plain import FIELDS, plain_facts
from normgrowth.facts.records import ZSRE_FIELDS, Fact, check_records, facts_of

Facts = str | Path | Iterable[dict[str, Any]] | Iterable[Fact]
"""A JSON file of records, records themselves, or facts."""

SWITCHED_OFF = (
    ("target_true", "es, em, ps, pm and all of neighbours"),
    ("paraphrases", "ps, pm and pa"),
    ("neighbours", "ns, nm and na"),
)
"""Parts that a fact may lack, each with the columns of scores that are NaN then."""


def given_facts(facts: Facts, stacklevel: int = 3) -> list[Fact]:
    """The facts that a user gives; one warning says what they lack and what that switches off.

    Records are CounterFact's, zsRE's, or have the fields of `normgrowth.facts.plain`; the first one decides.

    Args:
        stacklevel: of the warning, so that it names the user's line.

    Raises:
        FactError: naming the record and the field at fault.
    """
    found = read_given(facts)
    lacking = {name: sum(not getattr(fact, name) for fact in found) for name, _ in SWITCHED_OFF}
    said = [f"{lacking[name]} have no {name} (NaN: {columns})" for name, columns in SWITCHED_OFF if lacking[name]]
    if said:
        warnings.warn(f"of {len(found)} facts, {'; '.join(said)}", stacklevel=stacklevel)
    return found


def read_given(facts: Facts) -> list[Fact]:
    """The facts that a user gives, whatever they lack; raises as `given_facts` does."""
    if isinstance(facts, str | Path):
        return _facts_of(read_records(facts), str(facts))
    if isinstance(facts, dict | Fact):
        raise FactError("facts is a single one: put it into a list")
    records: list[Any] = list(facts)
    if not records:
        raise FactError(f"facts is an empty list: {FIELDS}")
    alike = [isinstance(record, Fact) for record in records]
    if all(alike):
        return records
    if any(alike):
        raise FactError("facts holds dictionaries beside Fact objects: give one kind")
    return _facts_of(records, "facts")


def _facts_of(records: list[Any], where: str) -> list[Fact]:
    """The facts of records in the schema of the first."""
    keys = records[0].keys() if isinstance(records[0], dict) else set()
    if keys >= ZSRE_FIELDS:
        records, left_out = from_zsre(records, where)
        if left_out:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
            warnings.warn(f"{where}: records of zsRE are left out ({reasons})", stacklevel=5)
    elif "requested_rewrite" not in keys:
        return plain_facts(records, where)
    check_records(records, where)
    return facts_of(records, where)
