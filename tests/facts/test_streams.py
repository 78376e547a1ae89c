"""Streams: which facts are edited again, to what, and when; judged by their latest edit."""

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from normgrowth.errors import FactError
from normgrowth.facts import streams
from normgrowth.facts.orders import edit_order, steps_of
from normgrowth.facts.records import Fact
from normgrowth.facts.streams import FIRST, PUT_BACK, REPEAT, Slot, Stream, first_edits, kind_of, latest_edits


def facts_of(count: int, relations: int = 3, objects: int = 5) -> list[Fact]:
    """Facts about as many subjects, each relation with objects of its own."""
    return [
        Fact(
            case_id=100 + i,
            subject=f"Subject {i}",
            prompt="{} is",
            relation=f"R{i % relations}",
            target_new=f"object {i % relations} {(i + 1) % objects}",
            target_true=f"object {i % relations} {i % objects}",
            paraphrases=(),
            neighbours=(),
        )
        for i in range(count)
    ]


@st.composite
def shapes(draw) -> Stream:
    """Any stream that the settings allow."""
    put_back = draw(st.floats(0, 0.45))
    return Stream(repeats=draw(st.floats(0, min(0.9 - put_back, 1 - 2 * put_back))), put_back=put_back, gap=draw(GAPS))


GAPS = st.integers(1, 12)
ANY = settings(max_examples=60, deadline=None, derandomize=True)


def test_a_stream_by_hand(monkeypatch):
    """Three objects leave a repeat one choice, so every edit of these slots follows."""
    home, work = (
        replace(fact, relation="place", target_true=true, target_new=new)
        for fact, true, new in zip(facts_of(2), ("Oslo", "rome"), ("Rome", "Paris"), strict=True)
    )
    slots = [
        Slot(FIRST, 0), Slot(FIRST, 1), Slot(REPEAT, 0), Slot(PUT_BACK, 1), Slot(REPEAT, 0), Slot(PUT_BACK, 0),
        Slot(FIRST, 2),
    ]  # fmt: skip
    monkeypatch.setattr(streams, "schedule", lambda *_: iter(slots))
    edits = streams.stream_of([home, work], [home, work], 0, 0, Stream(repeats=0.1))
    assert [(edit.case_id, edit.target_new, edit.target_true, edit.former) for edit in edits] == [
        (100, "Rome", "Oslo", None),
        (101, "Paris", "rome", None),
        (100, "Paris", "Oslo", "Rome"),
        (101, "rome", "rome", "Paris"),
        (100, "Rome", "Oslo", "Paris"),
        (100, "Oslo", "Oslo", "Rome"),
    ]
    assert [kind_of(edit) for edit in edits] == [slot.kind for slot in slots[:-1]]
    assert [edit.objects for edit in edits[3:]] == [("rome", "Paris"), ("Rome", "Oslo", "Paris"), ("Oslo", "Rome")]
    assert first_edits(edits) == [home, work]
    assert latest_edits(edits) == [edits[5], edits[3]]
    assert latest_edits(edits[:3]) == [edits[2], work]


@ANY
@given(shapes(), st.integers(0, 3), st.integers(0, 3))
def test_every_edit_keeps_to_the_rules(stream, seed, order):
    facts = facts_of(30)
    objects = {
        r: {o for f in facts if f.relation == r for o in (f.target_new, f.target_true)} for r in ("R0", "R1", "R2")
    }
    edits = edit_order(facts, seed, order, stream=stream)
    at: dict[int, int] = {}  # step of the latest edit, by case
    said: dict[int, str] = {}  # the object it wrote
    for step, edit in enumerate(edits, start=1):
        record = next(fact for fact in facts if fact.case_id == edit.case_id)
        if edit.case_id not in at:
            assert edit == record and kind_of(edit) == FIRST
        else:
            assert step - at[edit.case_id] >= stream.gap
            assert said[edit.case_id] != record.target_true  # it was not put back before
            assert edit == replace(record, target_new=edit.target_new, former=said[edit.case_id])
            assert edit.target_new != edit.former and edit.target_new in objects[record.relation]
            assert (edit.target_new == record.target_true) == (kind_of(edit) == PUT_BACK)
        at[edit.case_id], said[edit.case_id] = step, edit.target_new
    assert first_edits(edits) == edit_order(facts, seed, order)
    assert {edit.case_id: edit.target_new for edit in latest_edits(edits)} == said
    assert sum(kind_of(edit) == FIRST for edit in edits[:20]) == streams.facts_taken(stream, seed, order, 20)


@ANY
@given(shapes(), st.integers(0, 3))
def test_a_longer_stream_begins_with_the_shorter(stream, count):
    """Facts that are added at the end of the order change nothing before."""
    facts = edit_order(facts_of(40), 0, 0)
    longer = streams.stream_of(facts, facts, 0, 0, stream)
    shorter = streams.stream_of(facts[: 20 + count], facts, 0, 0, stream)
    assert len(shorter) < len(longer) and longer[: len(shorter)] == shorter


@ANY
@given(shapes(), st.integers(0, 3))
def test_blocks_keep_the_streams_of_orders_apart(stream, seed):
    orders = [edit_order(facts_of(36), seed, order, block=12, stream=stream) for order in range(3)]
    edited = [{edit.case_id for edit in steps_of(order, 1, 12)} for order in orders]
    assert len(set.union(*edited)) == sum(map(len, edited))


@pytest.mark.parametrize(
    "stream", [Stream(repeats=0.2, put_back=0.1), Stream(put_back=0.5, gap=1), Stream(repeats=0.9)]
)
def test_shares_are_those_asked_for(stream):
    kinds = [slot.kind for slot in islice(streams.schedule(stream, 0, 0), 20_000)]
    assert kinds.count(REPEAT) / len(kinds) == pytest.approx(stream.repeats, abs=0.02)
    assert kinds.count(PUT_BACK) / len(kinds) == pytest.approx(stream.put_back, abs=0.02)


def test_streams_differ_by_seed_and_order_and_not_by_the_order_of_records():
    facts, stream = facts_of(60), Stream(repeats=0.2, put_back=0.2, gap=3)
    one = edit_order(facts, 0, 0, stream=stream)
    assert one == edit_order(facts[::-1], 0, 0, stream=stream)
    kinds = [tuple(map(kind_of, edit_order(facts, *which, stream=stream)[:40])) for which in ((0, 0), (0, 1), (1, 0))]
    assert len(set(kinds)) == 3


def test_without_shares_the_order_is_the_plain_one():
    facts = facts_of(20)
    assert edit_order(facts, 0, 1, stream=Stream(gap=3)) == edit_order(facts, 0, 1)


def test_a_stream_edits_one_record_of_a_fact_and_all_facts_of_a_subject():
    """Records with the same subject and relation are one fact; another relation is another fact."""
    facts = facts_of(12, relations=2)
    again = replace(facts[0], case_id=1, subject=facts[0].subject.upper(), prompt="This is {}:")
    other = replace(
        facts[0], case_id=2, relation="R1", target_new=facts[1].target_new, target_true=facts[1].target_true
    )
    edits = edit_order([*facts, again, other], 0, 0, stream=Stream(repeats=0.3, gap=2))
    cases = {edit.case_id for edit in edits}
    assert len(cases & {100, 1}) == 1 and 2 in cases and len(cases) == 13
    unique = edit_order([*facts, again, other], 0, 0, unique_subjects=True, stream=Stream(repeats=0.3, gap=2))
    assert len({edit.case_id for edit in unique}) == 12
    assert len(edit_order([*facts, again, other], 0, 0)) == 14  # a plain order has every record


def test_a_relation_with_two_objects_cannot_be_edited_to_a_third():
    facts = facts_of(12, objects=4)
    pair = {"relation": "coin", "target_true": "heads"}
    facts += [replace(facts[0], case_id=7, target_new="tails", **pair)]
    facts += [replace(facts[0], case_id=8, subject="x", target_new="Tails", **pair)]
    with pytest.raises(FactError) as raised:
        edit_order(facts, 0, 0, stream=Stream(repeats=0.1))
    assert str(raised.value) == (
        "case 7: stream.repeats needs a third object for relation 'coin', whose facts have 'heads' and 'Tails' alone: "
        "take the record out, or set stream.repeats to 0"
    )
    edits = edit_order(facts, 0, 0, stream=Stream(put_back=0.4, gap=1))
    assert {kind_of(edit) for edit in edits} == {FIRST, PUT_BACK}


def test_a_stream_that_ends_too_early():
    order = edit_order(facts_of(10), 0, 0, stream=Stream(repeats=0.4, gap=2))
    with pytest.raises(FactError) as raised:
        steps_of(order, 1, 99)
    assert (
        str(raised.value) == f"the edit order holds {len(order)} edits of 10 facts, fewer than the 99 edits asked for"
    )


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        (
            {"repeats": 0.8, "put_back": 0.3},
            "repeats is 0.8 and put_back 0.3: together they are at most 0.9, since the",
        ),
        ({"repeats": 1.0}, "repeats is 1 and put_back 0: together they are at most 0.9"),
        (
            {"repeats": 0.4, "put_back": 0.4},
            "put_back is 0.4, and 0.2 of the edits are first ones: a fact is put back once at most, so lower put",
        ),
        ({"repeats": -0.1}, "greater than or equal to 0"),
        ({"put_back": float("nan")}, "should be a number"),
        ({"put_back": True}, "should be a number"),
        ({"gap": 0}, "greater than or equal to 1"),
        ({"gap": 1.5}, "valid integer"),
    ],
)
def test_shares_that_do_not_fit(shares, said):
    with pytest.raises(ValidationError) as raised:
        Stream(**shares)
    assert said in str(raised.value)


def test_shares_at_their_ends_fit():
    for shares in (
        {"repeats": 0.9},
        {"put_back": 0.5},
        {"repeats": 0.8, "put_back": 0.1},
        {"repeats": 0.3, "put_back": 0.35},
    ):
        assert Stream(**shares).active
    assert not Stream().active
