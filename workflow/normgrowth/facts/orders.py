"""Seeded edit orders: which fact is edited at which step."""

from normgrowth.errors import FactError
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact
from normgrowth.seeds import derive


def reserved_facts(facts: list[Fact], seed: int, count: int) -> list[Fact]:
    """Seeded choice of `count` facts, left out of every edit order: hypernetworks are trained on them."""
    return subset(facts, count, seed, "reserved")


def edit_order(
    facts: list[Fact],
    seed: int,
    order: int,
    unique_subjects: bool = False,
    reserved: int = 0,
    block: int | None = None,
) -> list[Fact]:
    """Facts in order number `order` under the study's seed, those of `reserved_facts` left out.

    A fact's place depends on its case_id alone, so it stays where it is relative to others when facts are added.

    Args:
        unique_subjects: keep only the first fact of each subject; subjects that differ in case or Unicode form alone
            are one subject.
        reserved: facts left out.
        block: facts that the order begins with and no other order does; None to draw each order from all facts.

    Raises:
        FactError: when there are fewer facts than the blocks up to this order's take.
    """
    kept_out = {fact.case_id for fact in reserved_facts(facts, seed, reserved)}
    facts = [fact for fact in facts if fact.case_id not in kept_out]
    shuffled = _shuffled(facts, seed, "order", order)
    if block is None:
        return _first_of_subjects(shuffled) if unique_subjects else shuffled
    common = _shuffled(facts, seed, "blocks")  # one shuffle, cut into the blocks of all orders
    if unique_subjects:
        common = _first_of_subjects(common)
    end = (order + 1) * block
    if end > len(common):
        raise FactError(f"blocks of {block} facts for {order + 1} edit orders take {end}, and there are {len(common)}")
    mine = {fact.case_id for fact in common[end - block : end]}
    there = {fact.case_id for fact in common}
    shuffled = [fact for fact in shuffled if fact.case_id in there]
    return [fact for fact in shuffled if fact.case_id in mine] + [fact for fact in shuffled if fact.case_id not in mine]


def _shuffled(facts: list[Fact], seed: int, *purpose: str | int) -> list[Fact]:
    return sorted(facts, key=lambda fact: (derive(seed, *purpose, fact.case_id), fact.case_id))


def _first_of_subjects(facts: list[Fact]) -> list[Fact]:
    """The first fact of each subject."""
    first: dict[str, Fact] = {}
    for fact in facts:
        first.setdefault(caseless_key(fact.subject), fact)
    return list(first.values())


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
