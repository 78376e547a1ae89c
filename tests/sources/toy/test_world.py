"""The synthetic world: facts in CounterFact's schema, with the neighbours and relations that editing needs."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from normgrowth.facts.records import check_records, read_facts
from normgrowth.sources.toy.toy_settings import NEIGHBOURS, WorldSettings
from normgrowth.sources.toy.vocabulary import RELATIONS
from normgrowth.sources.toy.world import WorldFiles, build_world, corpus, fact_records, running_text, write_world

SMALL = WorldSettings(
    subjects=28, relations=3, objects_per_relation=2, fewest_relations=2, most_relations=3, repetitions=1,
    text_characters=4000, heldout_characters=2000,
)  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return build_world(WorldSettings())


@pytest.fixture(scope="module")
def records(world):
    return fact_records(world)


def write(settings, folder):
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in ("facts.json", "text.txt", "heldout.txt", "corpus.jsonl")]
    write_world(settings, WorldFiles(*paths))
    return paths


def test_the_default_world_is_large_enough(world):
    assert len(world.facts) >= 600
    assert len({fact.relation for fact in world.facts}) >= 12
    relations_of = Counter(fact.subject for fact in world.facts)
    assert all(4 <= count <= 8 for count in relations_of.values())
    assert len({(fact.subject, fact.relation) for fact in world.facts}) == len(world.facts)


def test_records_follow_the_schema(records):
    check_records(records, "world")
    assert [record["case_id"] for record in records] == list(range(len(records)))
    for record in records:
        rewrite = record["requested_rewrite"]
        assert rewrite["prompt"].count("{}") == 1
        assert rewrite["target_new"]["str"] != rewrite["target_true"]["str"]
        assert not any(rewrite[target]["str"].startswith(" ") for target in ("target_new", "target_true"))
        assert len(record["paraphrase_prompts"]) == 2
        assert len(record["attribute_prompts"]) == len(record["generation_prompts"]) == 10
        about_it = [*record["paraphrase_prompts"], *record["generation_prompts"]]
        assert all(rewrite["subject"] in prompt for prompt in about_it)
        assert rewrite["prompt"] not in {prompt.replace(rewrite["subject"], "{}") for prompt in about_it}


def test_neighbours_are_other_subjects_with_the_same_object(world, records):
    for fact, record in zip(world.facts, records, strict=True):
        sharing = set(world.subjects_with(fact.relation, fact.object)) - {fact.subject}
        having_new = set(world.subjects_with(fact.relation, record["requested_rewrite"]["target_new"]["str"]))
        for kind, expected in (("neighborhood_prompts", sharing), ("attribute_prompts", having_new)):
            named = {name for name in expected for prompt in record[kind] if name in prompt}
            assert len(record[kind]) == len(named) == NEIGHBOURS
            assert not any(fact.subject in prompt for prompt in record[kind])


def test_no_name_is_part_of_another(world):
    names = {fact.subject for fact in world.facts}
    assert not [(a, b) for a in names for b in names if a != b and a in b]


def test_templates_tell_relations_apart():
    templates = [template for relation in RELATIONS for template in relation.templates]
    objects = [name for relation in RELATIONS for name in relation.objects]
    assert len(set(templates)) == len(templates)
    assert len(set(objects)) == len(objects)
    assert all(len(relation.templates) >= 4 and len(relation.objects) >= 8 for relation in RELATIONS)


def test_the_corpus_marks_objects_and_states_each_fact_in_each_template():
    world = build_world(SMALL)
    marked = [document.text[start:end] for document in corpus(world) for start, end in document.objects]
    expected = Counter()
    for fact in world.facts:
        expected[fact.object] += len(RELATIONS[fact.relation].templates) * SMALL.repetitions
    assert Counter(marked) == expected


def test_training_never_sees_the_heldout_text(tmp_path):
    _, text, heldout, corpus_path = write(SMALL, tmp_path)
    documents = {json.loads(line)["text"] for line in corpus_path.read_text().splitlines()}
    long = [part for part in heldout.read_text().strip().split("\n\n") if part.count(".") > 2]
    assert long
    assert not documents & set(long)
    assert len(text.read_text()) >= SMALL.text_characters
    assert running_text(build_world(SMALL), "text", 500) != running_text(build_world(SMALL), "heldout", 500)


def test_same_seed_same_bytes(tmp_path):
    first, again = write(SMALL, tmp_path / "first"), write(SMALL, tmp_path / "again")
    other = write(SMALL.model_copy(update={"seed": 2}), tmp_path / "other")
    for one, same, different in zip(first, again, other, strict=True):
        assert one.read_bytes() == same.read_bytes() != different.read_bytes()
    assert len(read_facts(first[0])) == len(build_world(SMALL).facts)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subjects": 40}, "subjects would share an object, but 11 must"),
        ({"fewest_relations": 9}, "fewest_relations <= most_relations <= relations must hold"),
        ({"sbjects": 40}, "sbjects"),
    ],
)
def test_impossible_worlds_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        WorldSettings(**changes)
