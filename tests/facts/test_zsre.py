"""zsRE records, read as facts."""

import json
from pathlib import Path

import pytest

from normgrowth.cli import main
from normgrowth.errors import FactError
from normgrowth.facts.importing import convert_zsre
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import read_facts
from tests.support import small_models

PUBLISHED = sorted((Path(__file__).parents[3] / "shared" / "data" / "zsre").glob("*.json"))
RECORD = {
    "subject": "Ida Kern",
    "src": "In which city was Ida Kern born?",
    "rephrase": "Where was Ida Kern born?",
    "answers": ["Graz", "Graz, Austria"],
    "alt": "Linz ",
    "loc": "nq question: who wrote it",
    "loc_ans": "Nobody",
}


def write(folder: Path, *records: object) -> Path:
    path = folder / "zsre.json"
    path.write_text(json.dumps(records))
    return path


def test_a_record_becomes_a_counterfactual_edit(tmp_path):
    out = tmp_path / "facts.json"
    path = write(tmp_path, RECORD | {"alt": "Graz"}, RECORD, RECORD)
    assert main(["import-facts", "--path", str(path), "--format", "zsre", "--limit", "1", "--out", str(out)]) == 0
    (fact,) = read_facts(out)
    assert fact.case_id == 1  # its place in the file, whatever is left out before it
    assert fact.question == RECORD["src"]
    assert fact.prompt == fact.relation == "In which city was {} born?"
    assert (fact.target_new, fact.target_true) == ("Linz", "Graz")
    assert fact.paraphrases == (RECORD["rephrase"],)
    assert fact.neighbours == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alt": None}, "record 1: field 'alt' is missing or no text: the file is not in zsRE's schema"),
        ({"answers": []}, "record 1: field 'answers' is not a list of texts with at least one"),
        ({"src": "Where was she born?"}, "record 1: field 'src': 'Where was she born.' does not hold the subject 'Ida"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, said):
    with pytest.raises(FactError, match=said):
        convert_zsre(write(tmp_path, RECORD, RECORD | change))


def test_a_file_with_nothing_to_edit(tmp_path):
    with pytest.raises(FactError, match="holds no record with an alternative to the true answer"):
        convert_zsre(write(tmp_path, RECORD | {"alt": "Graz"}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"subject": "Hyder", "src": "Where in Hyderabad?"},
            "the subject stands only inside longer words of the question",
        ),
        (
            {"subject": "abad", "src": "Where in Hyderabad?"},
            "the subject stands only inside longer words of the question",
        ),
        ({"alt": "graz"}, "the alternative is among the true answers"),
        ({"alt": " Graz, Austria"}, "the alternative is among the true answers"),
        ({"alt": "Z\u00e9", "answers": ["Graz", "ze\u0301 "]}, "the alternative is among the true answers"),
        ({"alt": "ida kern"}, "the alternative is the subject itself"),
        ({"alt": "\u200b"}, "the alternative or the answer is empty"),
        ({"answers": [" ", ""]}, "the alternative or the answer is empty"),
    ],
)
def test_what_is_left_out_is_said(tmp_path, capsys, change, reason):
    out = tmp_path / "facts.json"
    path = write(tmp_path, RECORD, RECORD | change, RECORD | change)
    assert main(["import-facts", "--path", str(path), "--format", "zsre", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"left out 2 records of {path}: {reason}\n"
    assert [fact.case_id for fact in read_facts(out)] == [0]


@pytest.mark.parametrize(
    ("change", "prompt", "subject"),
    [
        (
            {"subject": "Ann", "src": "Where was Annabel's sister Ann born?"},
            "Where was Annabel's sister {} born?",
            "Ann",
        ),
        ({"subject": "Ann", "src": "Is Ann's home that of Ann?"}, "Is {}'s home that of Ann?", "Ann"),
        ({"subject": " Ida Kern\u00a0"}, "In which city was {} born?", "Ida Kern"),
        ({"subject": "Ze\u0301", "src": "Where was Z\u00e9 born?"}, "Where was {} born?", "Z\u00e9"),
        ({"subject": "(UK)", "src": "Where is the (UK)?"}, "Where is the {}?", "(UK)"),
        ({"subject": "法国", "src": "问法国的首都"}, "问{}的首都", "法国"),
    ],
)
def test_the_subject_is_found_as_words_of_its_own(tmp_path, change, prompt, subject):
    (record,), _ = convert_zsre(write(tmp_path, RECORD | change))
    assert (record["requested_rewrite"]["prompt"], record["requested_rewrite"]["subject"]) == (prompt, subject)


def test_answers_and_rephrasings_that_say_nothing_are_passed_over(tmp_path):
    (record,), _ = convert_zsre(
        write(tmp_path, RECORD | {"answers": [" ", " Graz "], "rephrase": RECORD["src"].upper()})
    )
    assert record["requested_rewrite"]["target_true"] == {"str": "Graz"}
    assert record["paraphrase_prompts"] == []


def test_the_other_schema_is_recognised(tmp_path):
    with pytest.raises(
        FactError, match="not in zsRE's schema; the record is in CounterFact's: set `format: counterfact`"
    ):
        convert_zsre(write(tmp_path, *small_models.records()))
    with pytest.raises(FactError, match=r"\(format zsre has the fields alt, answers, src, subject\)"):
        convert_zsre(write(tmp_path, {"a": 1}))


@pytest.mark.skipif(not PUBLISHED, reason="the published files are not beside the repository")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_records_are_facts(tmp_path, path):
    out = tmp_path / "facts.json"
    assert main(["import-facts", "--path", str(path), "--format", "zsre", "--out", str(out)]) == 0
    facts, raw = read_facts(out), json.loads(path.read_text())
    assert 0.95 * len(raw) < len(facts) < len(raw)
    assert all(fact.question == raw[fact.case_id]["src"] for fact in facts)
    assert not any(caseless_key(fact.target_new) in map(caseless_key, raw[fact.case_id]["answers"]) for fact in facts)
