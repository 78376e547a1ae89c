"""zsRE records, read as facts."""

import json
from pathlib import Path

import pytest

from normgrowth.cli import main
from normgrowth.errors import FactError
from normgrowth.facts.records import read_facts
from normgrowth.facts.zsre import read_zsre

PUBLISHED = sorted((Path(__file__).parents[2] / "shared" / "data" / "zsre").glob("*.json"))
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
        read_zsre(write(tmp_path, RECORD, RECORD | change))


def test_a_file_with_nothing_to_edit(tmp_path):
    with pytest.raises(FactError, match="holds no record with an alternative to the true answer"):
        read_zsre(write(tmp_path, RECORD | {"alt": "Graz"}))


@pytest.mark.skipif(not PUBLISHED, reason="the published files are not beside the repository")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_records_are_facts(tmp_path, path):
    out = tmp_path / "facts.json"
    assert main(["import-facts", "--path", str(path), "--format", "zsre", "--out", str(out)]) == 0
    facts, raw = read_facts(out), json.loads(path.read_text())
    assert 0.95 * len(raw) < len(facts) < len(raw)
    assert all(fact.question == raw[fact.case_id]["src"] for fact in facts)
