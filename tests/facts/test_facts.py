"""Reading facts: what is wrong is named by record and field; orders are functions of the seed."""

import copy
import json
from dataclasses import replace

import pytest

from normgrowth import cli
from normgrowth.errors import FactError
from normgrowth.facts.orders import edit_order, steps_of, subset
from normgrowth.facts.records import check_records, read_facts
from normgrowth.facts.streams import Stream, first_edits
from normgrowth.lm.tokens import encode, encode_with_target, last_token_of
from normgrowth.study.inputs import editable_facts
from normgrowth.study.sections import LocalFacts
from tests.support import scripts, small_models


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
        (lambda r: r.update(subject_prompts={}), r"case_id 12\): field 'subject_prompts' is dict, not list"),
        (
            lambda r: r.update(subject_prompts=[{"prompt": "Zé likes", "target": "tea"}, {"prompt": "Zé likes"}]),
            r"subject_prompts: position 1: field 'target' is missing",
        ),
        (
            lambda r: r.update(subject_prompts=[{"prompt": "", "target": "tea"}]),
            r"subject_prompts: position 0: field 'prompt' is empty",
        ),
        (
            lambda r: r.update(subject_prompts=[{"prompt": "Zé is in", "target": "new  delhi"}]),
            r"subject_prompts: position 0: its target is target_new, 'New Delhi': nothing tells the two apart; take it",
        ),
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


def test_prompts_about_the_subject_are_read_with_their_objects(tmp_path):
    records = small_models.records()[:2]
    records[0]["subject_prompts"] = [{"prompt": "Vela Marun speaks", "target": " Greek "}]
    facts = read_facts(write(tmp_path / "facts.json", records))
    assert facts[0].subject_prompts == (("Vela Marun speaks", "Greek"),)
    assert facts[1].subject_prompts == ()


def test_blanks_that_targets_bring_go_to_prompts_about_the_subject_too(tmp_path):
    record = small_models.records()[0]
    record["requested_rewrite"] |= {"target_new": {"str": " 東京"}, "target_true": {"str": " 大阪"}}
    record["subject_prompts"] = [{"prompt": "彼は", "target": "犬"}]
    (fact,) = read_facts(write(tmp_path / "facts.json", [record]))
    assert fact.subject_prompts == (("彼は ", "犬"),)


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


def test_blocks_of_orders_have_no_fact_in_common():
    facts = small_models.facts()
    orders = [edit_order(facts, 0, order, block=2) for order in range(3)]
    blocks = [{fact.case_id for fact in order[:2]} for order in orders]
    assert set.union(*blocks) == {fact.case_id for fact in facts} and sum(map(len, blocks)) == len(facts)
    assert all(sorted(f.case_id for f in order) == sorted(f.case_id for f in facts) for order in orders)
    assert orders[1] == edit_order(list(reversed(facts)), 0, 1, block=2)


def test_blocks_hold_each_subject_once_where_subjects_are_unique():
    facts = small_models.facts()
    again = [replace(fact, case_id=fact.case_id + 1000) for fact in facts]
    orders = [edit_order(facts + again, 0, order, unique_subjects=True, block=3) for order in range(2)]
    assert {len(order) for order in orders} == {len(facts)}
    assert len({fact.subject for order in orders for fact in order[:3]}) == len(facts)


def test_blocks_that_take_more_facts_than_there_are():
    with pytest.raises(FactError, match=r"blocks of 4 facts for 2 edit orders take 8, and there are 5"):
        edit_order(small_models.facts(), 0, 1, reserved=1, block=4)


def test_subsets_are_nested():
    facts = small_models.facts()
    small, large = subset(facts, 2, 0, "x"), subset(facts, 4, 0, "x")
    assert set(small) <= set(large) and len(large) == 4


def rewritten(**changes):
    """The third record with other texts in its rewrite, as the only one."""
    record = small_models.records()[2]
    record["requested_rewrite"].update(
        {name: {"str": value} if name.startswith("target") else value for name, value in changes.items()}
    )
    return [record]


BLANKS = [" ", "  ", "\u00a0", "\u3000", "\u2003", "\u200b", "\ufeff", "\t", "\n"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("ends", ["{blank}Tirel", "Tirel{blank}", "{blank}Tirel{blank}"])
@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("{} was born in", "Tirel was born in"),
        ("The home of {} is", "The home of Tirel is"),
        ("{}'s home is", "Tirel's home is"),
        ("The home, of {}, is", "The home, of Tirel, is"),
        ("({}) was born in", "(Tirel) was born in"),
        ("Born is {}", "Born is Tirel"),
    ],
)
def test_subjects_end_at_their_last_letter(tmp_path, blank, ends, prompt, asked):
    subject = ends.replace("{blank}", blank)
    if prompt.startswith("(") and not ends.startswith("Tirel"):
        asked = asked.replace("(", "(" + blank)  # as it is written: it might be meant
    (fact,) = read_facts(write(tmp_path / "facts.json", rewritten(subject=subject, prompt=prompt)))
    assert (fact.subject, fact.question) == ("Tirel", asked)
    assert fact.question[slice(*fact.subject_span)] == "Tirel"
    tokenizer = small_models.tokenizer("gpt2")
    encoded = encode(tokenizer, fact.question)
    position = last_token_of(encoded, fact.subject_span)
    assert encoded.spans[position][1] == fact.subject_span[1]
    assert tokenizer.decode(encoded.ids[: position + 1]).endswith("Tirel")


def test_blanks_of_a_subject_keep_words_apart(tmp_path):
    (fact,) = read_facts(write(tmp_path / "facts.json", rewritten(subject=" Tirel ", prompt="The home of{}is")))
    assert (fact.question, fact.prompt) == ("The home of Tirel is", "The home of {} is")


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "{} was born in "},
        {"prompt": "{} was born in\u00a0"},
        {"target_new": " Rome", "target_true": " Oslo"},
        {"target_new": " Rome\u200b"},
        {"prompt": "{} was born in ", "target_new": " Rome"},
    ],
)
def test_blanks_between_prompt_and_object_are_one(tmp_path, changes):
    plain = {"prompt": "{} was born in", "target_new": "Rome", "target_true": "Oslo"}
    (asked,) = read_facts(write(tmp_path / "plain.json", rewritten(**plain)))
    (fact,) = read_facts(write(tmp_path / "facts.json", rewritten(**plain | changes)))
    tokenizer = small_models.tokenizer("gpt2")
    assert encode(tokenizer, fact.question).ids == encode(tokenizer, asked.question).ids
    for target in ("target_new", "target_true"):
        found = encode_with_target(tokenizer, fact.question, getattr(fact, target))
        assert found == encode_with_target(tokenizer, asked.question, getattr(asked, target))


def test_ordinary_facts_are_encoded_as_ever():
    """Latin text: one blank between prompt and object, and nothing else added or left out."""
    for architecture in small_models.ARCHITECTURES:
        tokenizer = small_models.tokenizer(architecture)
        for fact in small_models.facts():
            for prompt in (fact.question, *fact.paraphrases, *fact.neighbours):
                for target in (fact.target_new, fact.target_true):
                    ids, first = encode_with_target(tokenizer, prompt, target)
                    assert list(ids) == tokenizer(prompt + " " + target)["input_ids"]
                    assert list(ids[:first]) == tokenizer(prompt)["input_ids"]


def test_an_object_that_asks_for_a_blank_gets_it(tmp_path):
    record = scripts.record_of(scripts.SENTENCES["chinese"])
    rewrite = record["requested_rewrite"]
    rewrite["target_new"]["str"], rewrite["target_true"]["str"] = " 巴黎", " 罗马"
    record["paraphrase_prompts"] = ["法国的首都，是"]
    (fact,) = read_facts(write(tmp_path / "facts.json", [record]))
    assert (fact.question, fact.target_new, fact.paraphrases) == ("法国的首都是 ", "巴黎", ("法国的首都，是 ",))
    rewrite["target_true"]["str"] = "罗马"
    with pytest.raises(FactError, match="target_new begins with a blank and target_true does not: write both"):
        read_facts(write(tmp_path / "facts.json", [record]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": "\u00a0\u200b"}, "field 'subject' is empty"),
        ({"prompt": "\u200b"}, "field 'prompt' is empty"),
        ({"target_new": "\ufeff"}, "requested_rewrite.target_new: field 'str' is empty"),
        ({"target_new": "OSLO", "target_true": "Oslo"}, "both 'OSLO' but for case, blanks or Unicode form"),
        ({"target_new": "Ze\u0301", "target_true": "Z\u00e9"}, "there is nothing to edit"),
        ({"target_new": "Oslo ", "target_true": "\u200bOslo"}, "there is nothing to edit"),
    ],
)
def test_texts_that_say_nothing_are_refused(tmp_path, changes, said):
    with pytest.raises(FactError, match=said):
        read_facts(write(tmp_path / "facts.json", rewritten(**changes)))


@pytest.mark.parametrize(
    ("case_id", "said"),
    [
        (10**30, "field 'case_id' is too large a number"),
        (-(10**30), "field 'case_id' is too large a number"),
        ("10", "field 'case_id' is str, not int"),
        (True, "field 'case_id' is bool, not int"),
        (1.0, "field 'case_id' is float, not int"),
        (None, "field 'case_id' is NoneType, not int"),
    ],
)
def test_case_ids_are_whole_numbers_that_tables_hold(tmp_path, case_id, said):
    record = small_models.records()[0] | {"case_id": case_id}
    with pytest.raises(FactError, match=said):
        read_facts(write(tmp_path / "facts.json", [record]))


def test_negative_case_ids_are_as_good_as_others(tmp_path):
    facts = read_facts(
        write(tmp_path / "facts.json", [record | {"case_id": -i} for i, record in enumerate(small_models.records())])
    )
    assert sorted(fact.case_id for fact in edit_order(facts, 0, 0)) == sorted(-i for i in range(len(facts)))


RECORD = json.dumps(small_models.records()[0])
ZSRE = json.dumps({"subject": "A", "src": "Where is A?", "answers": ["B"], "alt": "C", "rephrase": ""})
FLAT = '{"case_id": 1, "prompt": "{} is in", "subject": "A", "target_new": "B"}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON: it is empty"),
        (
            f"{RECORD}\n{RECORD}\n",
            "is not JSON but several JSON values one after another (JSON Lines?), from line 2 on: ",
        ),
        (
            f'{{"data": [{RECORD}]}}',
            "but it holds an object with the list under 'data': take it out with `jq '.data' FILE`",
        ),
        (f'{{"1": {RECORD}}}', "but it holds an object with a record under each key: take them out with"),
        (RECORD, "but it holds a single record: put it into brackets"),
        ("null", "non-empty JSON list of records, but it holds null"),
        ('"text"', "but it holds a text"),
        (f'[{RECORD[:-1]}, "case_id": 2}}]', "an object with the key 'case_id' twice: which value counts is not said"),
        (f'[{RECORD[:-1]}, "more": NaN}}]', "holds NaN, which JSON does not know; write null"),
        (f'[{RECORD[:-1]}, "more": -Infinity}}]', "holds -Infinity, which JSON does not know; write null"),
        (f'[{RECORD[:-1]}, "more": 1e999}}]', "the number 1e999 is too large"),
        (f'[{RECORD[:-1]}, "more": {"9" * 5000}}}]', "holds a number that is too large"),
        ("[" * 100_000, "its lists and objects are nested too deeply for records"),
        (f'[{RECORD[:-1]}, "more": "\\ud83d"}}]', "record 0 holds \\ud83d, one half of a character"),
        ("[[]]", "record 0 is list, not an object"),
        (f"[{ZSRE}]", "is missing; the record is in zsRE's schema: set `format: zsre`"),
        (
            '[{"a": 1}]',
            "is missing (format counterfact has the fields case_id, requested_rewrite, paraphrase_prompts, ",
        ),
        (
            f"[{FLAT}]",
            "field 'requested_rewrite' is missing (format counterfact has the fields case_id, requested_rewrite",
        ),
    ],
)
def test_what_is_no_list_of_facts_is_said_by_plan_and_import_alike(tmp_path, capsys, content, said):
    path = tmp_path / "facts.json"
    path.write_text(content)
    with pytest.raises(FactError) as refused:
        editable_facts(LocalFacts(kind="local", path=str(path)), None, unique_subjects=False)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert cli.main(["import-facts", "--path", str(path), "--out", str(tmp_path / "out.json")]) == 1
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


def test_facts_nested_as_deeply_as_can_be_read_are_written_or_refused(tmp_path, capsys):
    path = tmp_path / "facts.json"
    for depth in (10, 300, 600, 900, 950, 1000, 3000):
        path.write_text(f'[{RECORD[:-1]}, "more": {"[" * depth}{"]" * depth}}}]')
        code = cli.main(["import-facts", "--path", str(path), "--out", str(tmp_path / "out.json")])
        said = capsys.readouterr().err
        assert (code == 0 and depth < 1000) or "nested too deeply" in said


def test_unique_subjects_are_counted_as_orders_take_them(tmp_path):
    records = small_models.records()
    for record, subject in zip(records, ("Zé", "ze\u0301", " ZÉ", "Ze", "Z\u00e9\u200b", "zé!"), strict=True):
        record["requested_rewrite"]["subject"] = subject
    path = write(tmp_path / "facts.json", records)
    counted = editable_facts(LocalFacts(kind="local", path=str(path)), None, unique_subjects=True)
    assert counted == len(edit_order(read_facts(path), 0, 0, unique_subjects=True)) == 3


def test_facts_of_a_stream_are_counted_as_orders_take_them(tmp_path):
    records = small_models.records()
    again = records[0] | {"case_id": 99}
    path, stream = write(tmp_path / "facts.json", [*records, again]), Stream(put_back=0.1)
    source = LocalFacts(kind="local", path=str(path))
    counted = editable_facts(source, None, unique_subjects=False, stream=stream)
    assert counted == len(first_edits(edit_order(read_facts(path), 0, 0, stream=stream))) == len(records)
    records[1]["requested_rewrite"]["relation_id"] = "rare"
    write(path, records)
    with pytest.raises(FactError, match=r"case 11: stream\.repeats needs a third object for relation 'rare', whose"):
        editable_facts(source, None, unique_subjects=False, stream=Stream(repeats=0.1))
