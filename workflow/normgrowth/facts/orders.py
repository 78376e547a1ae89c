"""Seeded edit orders: which fact is edited at which step."""

from collections.abc import Callable, Hashable

from normgrowth.errors import FactError
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact
from normgrowth.facts.streams import ONCE, Stream, first_edits, stream_of
from normgrowth.seeds import derive

Key = Callable[[Fact], Hashable]
"""What two records share that are one fact, or of one subject."""


def reserved_facts(facts: list[Fact], seed: int, count: int) -> list[Fact]:
    """Seeded choice of `count` facts, left out of every edit order.

    Hypernetworks are trained on them, and statistics of gradients begin with them.
    """
    return subset(facts, count, seed, "reserved")


def edit_order(
    facts: list[Fact],
    seed: int,
    order: int,
    unique_subjects: bool = False,
    reserved: int = 0,
    block: int | None = None,
    stream: Stream = ONCE,
) -> list[Fact]:
    """Edits in order number `order` under the study's seed, facts of `reserved_facts` left out.

    A fact's place depends on its case_id alone, so it stays where it is relative to others when facts are added.

    Args:
        unique_subjects: keep only the first fact of each subject; subjects that differ in case or Unicode form alone
            are one subject.
        reserved: facts left out.
        block: facts that the order begins with and no other order does; None to draw each order from all facts.
        stream: edits of facts edited before that stand among the others. Of records with the same subject and relation
            a stream keeps the first only: any other would be one more edit of that fact.

    Raises:
        FactError: when there are fewer facts than the blocks up to this order's take, or a relation has too few
            objects for the stream's repeats.
    """
    kept_out = {fact.case_id for fact in reserved_facts(facts, seed, reserved)}
    editable = [fact for fact in facts if fact.case_id not in kept_out]
    once = _in_order(editable, seed, order, _same(unique_subjects, stream), block)
    return stream_of(once, facts, seed, order, stream) if stream.active else once


def distinct_facts(facts: list[Fact], unique_subjects: bool = False, stream: Stream = ONCE) -> list[Fact]:
    """Those facts that an order can hold together, the first of each that `edit_order` takes for one."""
    same = _same(unique_subjects, stream)
    return _first_by(same, facts) if same else facts


def _same(unique_subjects: bool, stream: Stream) -> Key | None:
    return _subject if unique_subjects else _subject_and_relation if stream.active else None


def _in_order(facts: list[Fact], seed: int, order: int, same: Key | None, block: int | None) -> list[Fact]:
    """Facts in an order, only the first of those that have the `same` key."""
    shuffled = _shuffled(facts, seed, "order", order)
    if block is None:
        return _first_by(same, shuffled) if same else shuffled
    common = _shuffled(facts, seed, "blocks")  # one shuffle, cut into the blocks of all orders
    if same:
        common = _first_by(same, common)
    end = (order + 1) * block
    if end > len(common):
        raise FactError(f"blocks of {block} facts for {order + 1} edit orders take {end}, and there are {len(common)}")
    mine = {fact.case_id for fact in common[end - block : end]}
    there = {fact.case_id for fact in common}
    shuffled = [fact for fact in shuffled if fact.case_id in there]
    return [fact for fact in shuffled if fact.case_id in mine] + [fact for fact in shuffled if fact.case_id not in mine]


def _shuffled(facts: list[Fact], seed: int, *purpose: str | int) -> list[Fact]:
    return sorted(facts, key=lambda fact: (derive(seed, *purpose, fact.case_id), fact.case_id))


def _first_by(key: Key, facts: list[Fact]) -> list[Fact]:
    """The first fact of each key."""
    first: dict[Hashable, Fact] = {}
    for fact in facts:
        first.setdefault(key(fact), fact)
    return list(first.values())


def _subject(fact: Fact) -> str:
    return caseless_key(fact.subject)


def _subject_and_relation(fact: Fact) -> tuple[str, str]:
    return caseless_key(fact.subject), fact.relation


def steps_of(order: list[Fact], first: int, last: int) -> list[Fact]:
    """The edits of steps `first` to `last`, counted from 1 and inclusive.

    Raises:
        FactError: when the order is shorter.
    """
    if last > len(order):
        facts = len(first_edits(order))
        holds = f"{facts} facts" if facts == len(order) else f"{len(order)} edits of {facts} facts"
        raise FactError(f"the edit order holds {holds}, fewer than the {last} edits asked for")
    return order[first - 1 : last]


def subset(facts: list[Fact], count: int, seed: int, purpose: str) -> list[Fact]:
    """Seeded choice of at most `count` facts, in the order given; a larger `count` only adds to it."""
    chosen = sorted(facts, key=lambda fact: derive(seed, purpose, fact.case_id))[:count]
    keep = {fact.case_id for fact in chosen}
    return [fact for fact in facts if fact.case_id in keep]
