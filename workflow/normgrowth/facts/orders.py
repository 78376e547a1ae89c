"""Seeded edit orders: which fact is edited at which step."""

from normgrowth.errors import FactError
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact
from normgrowth.seeds import derive


def reserved_facts(facts: list[Fact], seed: int, count: int) -> list[Fact]:
    """Seeded choice of `count` facts, left out of every edit order: hypernetworks are trained on them."""
    return subset(facts, count, seed, "reserved")


def edit_order(
    facts: list[Fact], seed: int, order: int, unique_subjects: bool = False, reserved: int = 0
) -> list[Fact]:
    """Facts in order number `order` under the study's seed, those of `reserved_facts` left out.

    A fact's place depends on its case_id alone, so it stays where it is relative to others when facts are added.
    With `unique_subjects` only the first fact of each subject stays; subjects that differ in case or Unicode form alone
    are one subject.
    """
    kept_out = {fact.case_id for fact in reserved_facts(facts, seed, reserved)}
    ordered = [fact for fact in facts if fact.case_id not in kept_out]
    ordered = sorted(ordered, key=lambda fact: (derive(seed, "order", order, fact.case_id), fact.case_id))
    if not unique_subjects:
        return ordered
    first_of_subject: dict[str, Fact] = {}
    for fact in ordered:
        first_of_subject.setdefault(caseless_key(fact.subject), fact)
    return list(first_of_subject.values())


def steps_of(order: list[Fact], first: int, last: int) -> list[Fact]:
    """The facts of steps `first` to `last`, counted from 1 and inclusive.

    Raises:
        FactError: when the order is shorter.
    """
    if last > len(order):
        raise FactError(f"the edit order holds {len(order)} facts, fewer than the {last} edits asked for")
    return order[first - 1 : last]


def subset(facts: list[Fact], count: int, seed: int, purpose: str) -> list[Fact]:
    """Seeded choice of at most `count` facts, in the order given; a larger `count` only adds to it."""
    chosen = sorted(facts, key=lambda fact: derive(seed, purpose, fact.case_id))[:count]
    keep = {fact.case_id for fact in chosen}
    return [fact for fact in facts if fact.case_id in keep]
