"""The almanac: its tables agree with each other, and its records are what they say, by tables read here anew."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from normgrowth.cli import main
from normgrowth.facts import almanac
from normgrowth.facts.almanac.records import NEIGHBOURS, almanac_records
from normgrowth.facts.records import check_records, read_facts

FOLDER = Path(almanac.__file__).parent
KINDS = yaml.safe_load((FOLDER / "relations.yaml").read_text())
TABLES = {table: list(csv.DictReader((FOLDER / f"{table}.csv").open())) for table in KINDS}
EDITED = [f"{t}.{c}" for t, kind in KINDS.items() for c, of in kind["relations"].items() if of.get("edited", True)]
COUNTRIES = {row["name"]: row for row in TABLES["countries"]}
PARTS_OF_A_STATE = {"England", "Scotland"}


def relation(name: str) -> dict:
    table, column = name.split(".")
    return KINDS[table]["relations"][column]


def sentence(template: str, row: dict) -> str:
    name = f"{row.get('article') or ''} {row['name']}".strip()
    if template.startswith("{}"):
        name = name[0].upper() + name[1:]
    return template.replace("{}", name)


def object_of(name: str, row: dict) -> str:
    value = row[name.split(".")[1]]
    if relation(name).get("objects") == "countries":
        return f"{COUNTRIES[value]['article']} {value}".strip() if value in COUNTRIES else value
    return value


def every_prompt() -> dict[str, tuple[str, str, str]]:
    """Relation, subject and object of every fact, by its prompt."""
    found = {}
    for table, kind in KINDS.items():
        for column, of in kind["relations"].items():
            for row in TABLES[table]:
                if row[column]:
                    name = f"{table}.{column}"
                    found[sentence(of["prompt"], row)] = (name, row["name"], object_of(name, row))
    return found


PROMPTS = every_prompt()
SHARING: dict[tuple[str, str], list[str]] = {}
"""Subjects that share an object, by relation and object."""
for name, subject, object_ in PROMPTS.values():
    SHARING.setdefault((name, object_), []).append(subject)


@pytest.fixture(scope="module", params=[0, 1])
def records(request):
    return almanac_records(request.param)


def parts(record):
    rewrite = record["requested_rewrite"]
    return rewrite["relation_id"], rewrite["subject"], rewrite["target_true"]["str"], rewrite["target_new"]["str"]


def test_every_record_is_valid(records):
    check_records(records, "almanac")
    assert len(records) >= 600
    assert len({parts(record)[:2] for record in records}) == len(records)
    relations_of = Counter((name.split(".")[0], subject) for name, subject, *_ in map(parts, records))
    assert sum(count >= 4 for count in relations_of.values()) >= 100
    assert min(Counter(name for name, *_ in map(parts, records)).values()) >= 50


def test_records_are_the_facts_of_the_tables(records):
    said = {question(record): (*parts(record)[:2], parts(record)[2]) for record in records}
    assert said == {prompt: fact for prompt, fact in PROMPTS.items() if fact[0] in EDITED}


def question(record):
    rewrite = record["requested_rewrite"]
    return rewrite["prompt"].replace("{}", rewrite["subject"])


def test_new_objects_are_others_of_the_relation(records):
    objects = {name: {fact[2] for fact in PROMPTS.values() if fact[0] == name} for name in EDITED}
    for record in records:
        name, _, true, new = parts(record)
        assert new in objects[name] and new != true
        assert not new.startswith(true) and not true.startswith(new)
        assert not any({true, new} <= set(group) for group in relation(name).get("alike", []))
    assert len({parts(record)[3] for record in records}) > 200


def test_neighbours_are_other_subjects_with_the_true_object(records):
    for record in records:
        name, subject, true, _ = parts(record)
        asked = [PROMPTS[prompt] for prompt in record["neighborhood_prompts"]]
        assert len(set(asked)) == len(asked) <= NEIGHBOURS
        assert all(other != subject and object_ == true for _, other, object_ in asked)
        sharing = set(SHARING[name, true]) - {subject}
        assert {of for of, *_ in asked} <= ({name} if sharing else set(relation(name).get("neighbours", [])))
        assert len(asked) >= min(len(sharing), NEIGHBOURS)


def test_prompts_about_the_subject_are_its_other_relations(records):
    for record in records:
        name, subject, _, new = parts(record)
        table, column = name.split(".")
        asked = [(*PROMPTS[entry["prompt"]], entry["target"]) for entry in record["subject_prompts"]]
        moved = {column, *relation(name).get("bears_on", [])}
        moved |= {other for other, of in KINDS[table]["relations"].items() if column in of.get("bears_on", [])}
        row = next(row for row in TABLES[table] if row["name"] == subject)
        others = {c: object_of(f"{table}.{c}", row) for c in KINDS[table]["relations"] if row[c] and c not in moved}
        assert {of.split(".")[1]: target for of, _, _, target in asked} == {
            column: object_ for column, object_ in others.items() if object_ != new
        }
        assert all(of.startswith(f"{table}.") and who == subject for of, who, *_ in asked)


def test_paraphrases_and_prompts_for_texts_are_about_the_subject(records):
    for record in records:
        texts = [*record["paraphrase_prompts"], *record["generation_prompts"]]
        assert len(record["paraphrase_prompts"]) >= 2 and len({question(record), *texts}) == len(texts) + 1
        assert all(record["requested_rewrite"]["subject"] in text for text in texts)


def test_templates_end_where_an_object_can_follow():
    for name in (f"{table}.{column}" for table, kind in KINDS.items() for column in kind["relations"]):
        templates = [relation(name)["prompt"], *relation(name).get("paraphrases", [])]
        assert len(templates) >= 3 or not relation(name).get("edited", True)
        for template in templates:
            assert template.count("{}") == 1 and re.fullmatch(r"[A-Z{].*[a-z,]", template), template


def test_cells_are_plain_text():
    for table, rows in TABLES.items():
        names = [row["name"] for row in rows]
        assert names == sorted(set(names)), f"{table}: sorted by name, each once"
        for row in rows:
            assert None not in row and None not in row.values(), row  # a comma too many or too few
            assert all(cell.isascii() and cell == " ".join(cell.split()) for cell in row.values()), row
            assert any(row[column] for column in KINDS[table]["relations"]), row
            assert row.get("article", "") in ("", "the"), row


def test_no_subject_is_a_part_of_another():
    for rows in (TABLES["countries"], TABLES["cities"], TABLES["people"]):
        names = [row["name"] for row in rows]
        for name in names:
            inside = [other for other in names if other != name and re.search(rf"\b{re.escape(name)}\b", other)]
            assert not inside or name in ("Porto",), (name, inside)


def test_every_capital_and_adjective_belongs_to_one_country():
    for column in ("capital", "demonym", "largest_city"):
        cells = Counter(row[column] for row in TABLES["countries"] if row[column])
        assert max(cells.values()) == 1, cells.most_common(1)
    assert all(row["largest_city"] != row["capital"] for row in TABLES["countries"] if row["largest_city"])


def test_tables_agree_where_they_say_the_same():
    country_of = {row["name"]: row["country"] for row in TABLES["cities"]}
    assert set(country_of.values()) <= COUNTRIES.keys()
    capital_of = {row["capital"]: row["name"] for row in TABLES["countries"] if row["capital"]}
    for row in TABLES["countries"]:
        for column in ("capital", "largest_city"):
            assert country_of.get(row[column], row["name"]) == row["name"], row
    for row in TABLES["landmarks"]:
        assert row["country"] in COUNTRIES
        assert country_of.get(row["city"], row["country"]) == row["country"], row
        assert capital_of.get(row["city"], row["country"]) == row["country"], row
    for row in TABLES["people"]:
        assert not row["country"] or row["country"] in COUNTRIES.keys() | PARTS_OF_A_STATE
        found = country_of.get(row["birthplace"]) or capital_of.get(row["birthplace"]) or row["country"]
        spelled = {found} | (PARTS_OF_A_STATE if found == "United Kingdom" else set())
        assert row["country"] in {"", *spelled}, row
    assert {row["continent"] for row in TABLES["countries"]} == {
        "", "Africa", "Asia", "Europe", "North America", "South America",
    }  # fmt: skip


def test_columns_are_those_that_relations_describe():
    for table, rows in TABLES.items():
        assert set(rows[0]) - {"name", "article"} == set(KINDS[table]["relations"])


def test_a_seed_decides_what_facts_are_edited_to_and_nothing_of_the_facts():
    first, again, other = almanac_records(0), almanac_records(0), almanac_records(1)
    assert first == again
    assert [(record["case_id"], parts(record)[:3]) for record in first] == [
        (record["case_id"], parts(record)[:3]) for record in other
    ]
    assert sum(parts(a)[3] != parts(b)[3] for a, b in zip(first, other, strict=True)) > len(first) / 2


def test_a_limit_takes_a_mixture(tmp_path):
    out = tmp_path / "facts.json"
    assert main(["included-facts", "--name", "almanac", "--limit", "200", "--out", str(out)]) == 0
    facts = read_facts(out)
    assert len(facts) == 200 and {fact.relation for fact in facts} == set(EDITED)
    assert [fact.case_id for fact in facts] == [record["case_id"] for record in almanac_records(0)[:200]]
