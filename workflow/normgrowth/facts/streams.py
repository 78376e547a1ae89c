"""Streams: edit orders in which facts edited before are edited again, to another object or back to the true one.

Every edit of a stream is a `Fact` with the `case_id` of its record; its step tells the edits of one record apart. Kinds
of edits and the facts that they are about follow from the study's seed, the order and the step alone, so that a
longer stream begins with the shorter one, wherever segments end.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice, takewhile
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from normgrowth.checked import Checked, Count, Share
from normgrowth.errors import FactError
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact
from normgrowth.seeds import derive

FIRST, REPEAT, PUT_BACK = "first", "repeat", "put_back"
"""Kinds of edits: of a fact for the first time, to another new object, back to the true object."""

MOST_AGAIN = 0.9
"""Largest share of edits of facts edited before; the others take a new fact each, without which no stream goes on."""

ROUNDING = 1e-9


class Stream(Checked):
    """Edits of facts that were edited before. A fact that is put back is not edited again."""

    repeats: Share = Field(
        0.0,
        description="Share of edits that write another new object into a fact edited before: one of other facts of the "
        "relation, neither the true one nor that of the edit before.",
    )
    put_back: Share = Field(
        0.0, description="Share of edits that write the true object back into a fact edited before."
    )
    gap: Count = Field(
        10,
        description="Steps from an edit to the next one of the same fact, at least; no less than any editor's `batch`, "
        "so that no batch holds a fact twice.",
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        again = self.repeats + self.put_back
        if again > MOST_AGAIN + ROUNDING:
            raise ValueError(
                f"repeats is {self.repeats:g} and put_back {self.put_back:g}: together they are at most "
                f"{MOST_AGAIN:g}, since the other edits bring the facts"
            )
        if self.put_back > 1 - again + ROUNDING:
            raise ValueError(
                f"put_back is {self.put_back:g}, and {1 - again:g} of the edits are first ones: a fact is put back "
                "once at most, so lower put_back or repeats"
            )
        return self

    @property
    def active(self) -> bool:
        """True where facts are edited more than once."""
        return self.repeats > 0 or self.put_back > 0

    def kind(self, drawn: float) -> str:
        """The kind of an edit, from a number drawn between 0 and 1."""
        if drawn < self.repeats:
            return REPEAT
        return PUT_BACK if drawn < self.repeats + self.put_back else FIRST


ONCE = Stream()
"""The stream in which every fact is edited once."""


class Slot(NamedTuple):
    """A step of a stream before facts are chosen: the kind of its edit, and the number of its fact, from 0."""

    kind: str
    fact: int


def schedule(stream: Stream, seed: int, order: int) -> Iterator[Slot]:
    """The slots of a stream from step 1 on, without end. Facts are numbered in the order of their first edits.

    Edits are first ones where no fact may be edited again yet.
    """
    ready: list[int] = []  # facts that may be edited again
    waiting: deque[tuple[int, int]] = deque()  # step and fact of the edits since, fewer than `gap` steps ago
    facts = count()
    for step in count(1):
        while waiting and waiting[0][0] <= step - stream.gap:
            ready.append(waiting.popleft()[1])
        kind = stream.kind(_drawn(seed, "kind of edit", order, step)) if ready else FIRST
        if kind == FIRST:
            fact = next(facts)
        else:
            chosen = int(_drawn(seed, "fact edited again", order, step) * len(ready))
            ready[chosen], ready[-1] = ready[-1], ready[chosen]
            fact = ready.pop()
        if kind != PUT_BACK:
            waiting.append((step, fact))
        yield Slot(kind, fact)


def facts_taken(stream: Stream, seed: int, order: int, edits: int) -> int:
    """Number of facts that the first edits of a stream are about."""
    return sum(slot.kind == FIRST for slot in islice(schedule(stream, seed, order), edits))


class Objects(NamedTuple):
    """The objects of a relation, sorted by their caseless form, and the place of each spelling among them."""

    texts: list[str]
    place: dict[str, int]


def require_objects(facts: Sequence[Fact], stream: Stream) -> dict[str, Objects]:
    """The objects of each relation's facts, true and new; three or more where a stream has repeats.

    Raises:
        FactError: when a relation has no third object for a repeat.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        found[fact.relation].update((fact.target_true, fact.target_new))
    objects = {relation: _listed(spellings) for relation, spellings in found.items()}
    for fact in facts if stream.repeats else ():
        if len(there := objects[fact.relation].texts) < 3:
            raise FactError(
                f"case {fact.case_id}: stream.repeats needs a third object for relation {fact.relation!r}, whose facts "
                f"have {' and '.join(map(repr, there))} alone: take the record out, or set stream.repeats to 0"
            )
    return objects


def stream_of(facts: Sequence[Fact], pool: Sequence[Fact], seed: int, order: int, stream: Stream) -> list[Fact]:
    """The edits of a stream, step by step, until it asks for one more fact than there are.

    Args:
        facts: those that are edited, in the order of their first edits.
        pool: `facts` and others, whose objects repeats may write.

    Raises:
        FactError: as `require_objects` does.
    """
    objects = require_objects(pool, stream)
    slots = takewhile(lambda slot: slot.fact < len(facts), schedule(stream, seed, order))
    latest: list[Fact] = []
    edits: list[Fact] = []
    for step, slot in enumerate(slots, start=1):
        if slot.kind == FIRST:
            latest.append(facts[slot.fact])
        else:
            before = latest[slot.fact]
            new = before.target_true
            if slot.kind == REPEAT:
                drawn = _drawn(seed, "object of a repeat", order, step)
                new = _another(before, objects[before.relation], drawn)
            latest[slot.fact] = replace(before, target_new=new, former=before.target_new)
        edits.append(latest[slot.fact])
    return edits


def kind_of(edit: Fact) -> str:
    """The kind of a stream's edit."""
    if edit.former is None:
        return FIRST
    return PUT_BACK if edit.target_new == edit.target_true else REPEAT


def first_edits(edits: Iterable[Fact]) -> list[Fact]:
    """The first edit of each fact of a stream, in their order."""
    return [edit for edit in edits if edit.former is None]


def latest_edits(edits: Iterable[Fact]) -> list[Fact]:
    """The latest edit of each fact, in the order of their first edits."""
    return list({edit.case_id: edit for edit in edits}.values())


def _drawn(seed: int, *position: str | int) -> float:
    """A number between 0 and 1, without 1, that is drawn for a position."""
    return (derive(seed, *position) >> 10) / 2**53


def _listed(spellings: set[str]) -> Objects:
    key_of = {text: caseless_key(text) for text in sorted(spellings)}
    place_of = {key: place for place, key in enumerate(sorted(set(key_of.values())))}
    first = {key: text for text, key in reversed(key_of.items())}
    return Objects([first[key] for key in place_of], {text: place_of[key] for text, key in key_of.items()})


def _another(before: Fact, objects: Objects, drawn: float) -> str:
    """An object that is neither the fact's true one nor that of its edit before; `drawn` lies between 0 and 1."""
    had = sorted({objects.place[before.target_true], objects.place[before.target_new]})
    chosen = int(drawn * (len(objects.texts) - len(had)))
    for place in had:
        chosen += chosen >= place
    return objects.texts[chosen]
