"""Facts of the almanac as records in CounterFact's schema (arXiv 2202.05262, appendix), each with a new object.

Choices are functions of the seed and of the fact, so that a fact which is added moves those of few others. Beside
CounterFact's fields a record has `subject_prompts`: other relations of its subject, which the edit should leave as they
are.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from normgrowth.facts.almanac.tables import (
    Statement,
    editable_statements,
    kinds,
    placed,
    relation_of,
    statements,
)
from normgrowth.facts.orthography import caseless_key
from normgrowth.seeds import derive

NEIGHBOURS = 10
"""Most neighbours of a fact, as in CounterFact."""


def almanac_records(seed: int, limit: int | None = None) -> list[dict]:
    """Records of the facts that are edited, by case id: the first `limit`, or all."""
    return [_record(statement, seed) for statement in editable_statements()[:limit]]


def _record(fact: Statement, seed: int) -> dict:
    relation, new = relation_of(fact), _new_object(fact, seed)
    return {
        "case_id": fact.case_id,
        "requested_rewrite": {
            "prompt": placed(relation.prompt, fact.article),
            "relation_id": fact.relation,
            "target_new": {"str": new},
            "target_true": {"str": fact.object},
            "subject": fact.subject,
        },
        "paraphrase_prompts": [fact.asked(template) for template in relation.paraphrases],
        "neighborhood_prompts": [other.asked(relation_of(other).prompt) for other in _neighbours(fact, seed)],
        "generation_prompts": [fact.asked(template) for template in kinds()[fact.table].generation],
        "subject_prompts": [
            {"prompt": other.asked(relation_of(other).prompt), "target": other.object}
            for other in _others_of_subject(fact)
            if caseless_key(other.object) != caseless_key(new)
        ],
    }


def _new_object(fact: Statement, seed: int) -> str:
    """Seeded choice among the other objects of the relation, those left out that are hard to tell from the true one."""
    alike = {fact.object}.union(*(group for group in relation_of(fact).alike if fact.object in group))
    candidates = {other.object for other in _by_relation()[fact.relation]} - alike
    apart = [name for name in candidates if not (name.startswith(fact.object) or fact.object.startswith(name))]
    return min(apart, key=lambda name: derive(seed, "new object", fact.relation, fact.subject, name))


def _neighbours(fact: Statement, seed: int) -> list[Statement]:
    """Seeded choice of facts about other subjects with the same object.

    Where no other subject has the object under the same relation (a capital, say), they are of relations whose objects
    are of the same kind (landmarks in that city), which the edit does not bear upon.
    """
    for relations in ([fact.relation], relation_of(fact).neighbours):
        others = [other for relation in relations for other in _by_relation()[relation] if other.object == fact.object]
        if found := [other for other in others if other.subject != fact.subject]:
            return _drawn(found, seed, "neighbours", fact.relation, fact.subject)
    return []


def _drawn(found: Iterable[Statement], seed: int, *purpose: str) -> list[Statement]:
    return sorted(found, key=lambda other: derive(seed, *purpose, other.relation, other.subject))[:NEIGHBOURS]


def _others_of_subject(fact: Statement) -> list[Statement]:
    """Facts about the same subject that the edit does not bear upon, in the order of the table's columns."""
    relations = kinds()[fact.table].relations
    moved = {fact.column, *relations[fact.column].bears_on}
    moved |= {column for column, relation in relations.items() if fact.column in relation.bears_on}
    others = {other.column: other for other in _by_subject()[fact.table, fact.subject]}
    return [others[column] for column in relations if column in others and column not in moved]


@cache
def _by_relation() -> dict[str, list[Statement]]:
    found = defaultdict(list)
    for statement in statements():
        found[statement.relation].append(statement)
    return found


@cache
def _by_subject() -> dict[tuple[str, str], list[Statement]]:
    found = defaultdict(list)
    for statement in statements():
        found[statement.table, statement.subject].append(statement)
    return found
