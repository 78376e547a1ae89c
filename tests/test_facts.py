"""Reading facts: what is wrong is named by record and field; orders are functions of the seed."""

import copy
import json

import pytest

from normgrowth.errors import FactError
from normgrowth.facts.orders import edit_order, steps_of, subset
from normgrowth.facts.records import check_records, read_facts
from tests import small_models


def write(path, records):
    path.write_text(json.dumps(records))
    return path


def broken(change):
    records = copy.deepcopy(small_models.records())
    change(records[2])
    return records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("case_id"), r"record 2: field 'case_id' is missing"),
        (
            lambda r: r["requested_rewrite"].pop("subject"),
            r"record 2 \(case_id 12\): requested_rewrite: field 'subject'",
        ),
        (
            lambda r: r["requested_rewrite"]["target_new"].pop("str"),
            r"requested_rewrite.target_new: field 'str' is miss",
        ),
        (
            lambda r: r["requested_rewrite"].update(prompt="Born in"),
            r"'Born in' must hold \{\} once, where the subject",
        ),
        (lambda r: r.update(paraphrase_prompts="x"), r"field 'paraphrase_prompts' is str, not list"),
        (lambda r: r.update(neighborhood_prompts=["a", 3]), r"'neighborhood_prompts' holds 3 at position 1"),
        (lambda r: r["requested_rewrite"].update(target_new=r["requested_rewrite"]["target_true"]), "nothing to edit"),
    ],
)
def test_faults_name_record_and_field(tmp_path, change, message):
    path = write(tmp_path / "facts.json", broken(change))
    with pytest.raises(FactError, match=message):
        read_facts(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[", "is not JSON"), ("{}", "non-empty JSON list"), ("[]", "non-empty JSON list"), ("[3]", "record 0 is int")],
)
def test_files_that_hold_no_facts(tmp_path, content, message):
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(FactError, match=message):
        read_facts(path)


def test_repeated_case_ids_are_refused(tmp_path):
    records = small_models.records()
    with pytest.raises(FactError, match=r"case_id 10 stands in record 0 already"):
        check_records([*records, records[0]], "facts.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FactError, match=r"nowhere.json does not exist"):
        read_facts(tmp_path / "nowhere.json")


def test_orders_are_seeded_permutations():
    facts = small_models.facts()
    first = edit_order(facts, 0, 0)
    assert sorted(f.case_id for f in first) == sorted(f.case_id for f in facts)
    assert first == edit_order(list(reversed(facts)), 0, 0)
    assert first != edit_order(facts, 0, 1)
    assert first != edit_order(facts, 1, 0)


def test_an_order_keeps_its_shape_when_facts_are_added():
    facts = small_models.facts()
    fewer = edit_order(facts[:-1], 0, 0)
    assert [f for f in edit_order(facts, 0, 0) if f in fewer] == fewer


def test_unique_subjects_and_steps():
    facts = small_models.facts()
    assert len(edit_order(facts + facts[:2], 0, 0, unique_subjects=True)) == len(facts)
    assert steps_of(facts, 2, 3) == facts[1:3]
    with pytest.raises(FactError, match="holds 6 facts, fewer than the 9 edits"):
        steps_of(facts, 1, 9)


def test_subsets_are_nested():
    facts = small_models.facts()
    small, large = subset(facts, 2, 0, "x"), subset(facts, 4, 0, "x")
    assert set(small) <= set(large) and len(large) == 4
