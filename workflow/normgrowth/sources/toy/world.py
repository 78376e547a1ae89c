"""A seeded synthetic world: facts in CounterFact's schema, and text that tells them.

Every subject has several relations, because only then does a language model build the subject at its last
token first and read the attribute asked for off it later, which is what locate-then-edit methods edit.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from normgrowth.io.documents import write_json, write_text
from normgrowth.seeds import derive
from normgrowth.sources.toy.toy_settings import NEIGHBOURS, WorldSettings
from normgrowth.sources.toy.vocabulary import CODAS, ONSETS, RELATIONS, SENTENCES, VOWELS, WORDS

SENTENCES_PER_DOCUMENT = (1, 6)
JOINED = 3
"""Clauses of one sentence about a subject."""
GENERATION_PROMPTS = 10
ATTRIBUTE_PROMPTS = 10


class Fact(NamedTuple):
    """`subject` has `object` under the relation of that index in `RELATIONS`."""

    subject: str
    relation: int
    object: str


class WorldFiles(NamedTuple):
    """Files of a world."""

    facts: Path  # records in CounterFact's schema
    text: Path  # running text for second moments and activation probes
    heldout: Path  # running text that no model is trained on
    corpus: Path  # training corpus, one JSON document a line


class Document(NamedTuple):
    """Text, and the character spans of the objects of the facts it states."""

    text: str
    objects: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class World:
    """The facts of a world, in the order of their case ids."""

    settings: WorldSettings
    facts: tuple[Fact, ...]

    def subjects_with(self, relation: int, object_: str) -> list[str]:
        """The subjects that share an object of a relation."""
        return [fact.subject for fact in self.facts if fact.relation == relation and fact.object == object_]


def build_world(settings: WorldSettings) -> World:
    """Draw names, the relations of every subject, and their objects."""
    random = Random(derive(settings.seed, "facts"))
    subjects = _names(settings.subjects, random)
    facts = []
    for relation, holders in enumerate(_deal_relations(settings, subjects, random)):
        random.shuffle(holders)
        # Dealt in turn, every object goes to equally many subjects, so each fact has its neighbours.
        objects = RELATIONS[relation].objects[: settings.objects_per_relation]
        facts += [Fact(subject, relation, objects[i % len(objects)]) for i, subject in enumerate(holders)]
    random.shuffle(facts)
    return World(settings, tuple(facts))


def write_world(settings: WorldSettings, files: WorldFiles) -> None:
    """Write the fact records, the text for second moments and probes, the held-out text and the corpus.

    The three kinds of text are drawn alike and independently. The corpus has the character spans of the objects with
    each document; the other two are plain, documents separated by a blank line.

    Raises:
        ArtefactError: when a file cannot be written.
    """
    world = build_world(settings)
    write_json(files.facts, fact_records(world))
    write_text(files.corpus, "".join(json.dumps(document._asdict()) + "\n" for document in corpus(world)))
    for path, purpose, length in (
        (files.text, "text", settings.text_characters),
        (files.heldout, "heldout", settings.heldout_characters),
    ):
        write_text(path, running_text(world, purpose, length))


def fact_records(world: World) -> list[dict]:
    """Facts of a world in CounterFact's schema; `case_id` counts from 0."""
    return [_record(world, case_id, fact) for case_id, fact in enumerate(world.facts)]


def corpus(world: World) -> list[Document]:
    """Documents that state every fact in every template equally often, facts and running text mixed."""
    random = Random(derive(world.settings.seed, "corpus"))
    repeated = [statement for _ in range(world.settings.repetitions) for statement in _statements(world, random)]
    return list(_documents(world, iter(repeated), random))


def running_text(world: World, purpose: str, characters: int) -> str:
    """Text drawn as the corpus is, from a stream of its own, at least `characters` long."""
    random = Random(derive(world.settings.seed, purpose))
    endless = (statement for _ in count() for statement in _statements(world, random))
    texts, length = [], 0
    for document in _documents(world, endless, random):
        texts.append(document.text)
        length += len(document.text) + 2
        if length >= characters:
            break
    return "\n\n".join(texts) + "\n"


def _statements(world: World, random: Random) -> list[Document]:
    """Sentences that together state every fact once in each of its templates, in random order.

    Templates that begin with the subject are joined, "... was born in Lisbon, speaks Greek and plays the harp.":
    several attributes read off one mention are what makes a model gather them where the subject ends.
    """
    statements = []
    facts_of: dict[str, list[Fact]] = {}
    for fact in world.facts:
        facts_of.setdefault(fact.subject, []).append(fact)
    for subject, facts in facts_of.items():
        opening = [(fact, t) for fact in facts for t in RELATIONS[fact.relation].templates if t.startswith("{}")]
        random.shuffle(opening)
        for start in range(0, len(opening), JOINED):
            statements.append(_joined(subject, opening[start : start + JOINED]))
        for fact in facts:
            for template in RELATIONS[fact.relation].templates:
                if not template.startswith("{}"):
                    statements.append(_joined(subject, [(fact, template)]))
    random.shuffle(statements)
    return statements


def _joined(subject: str, clauses: list[tuple[Fact, str]]) -> Document:
    """One sentence: the first clause whole, of the others what follows the subject."""
    text, objects = "", []
    for i, (fact, template) in enumerate(clauses):
        if i > 0:
            text += " and" if i == len(clauses) - 1 else ","
        text += (template if i == 0 else template.removeprefix("{}")).format(subject) + " "
        objects.append((len(text), len(text) + len(fact.object)))
        text += fact.object
    return Document(text + ".", tuple(objects))


def _names(wanted: int, random: Random) -> list[str]:
    """Distinct names: a given name that several people share, and a family name of one's own."""

    def word(syllables: int) -> str:
        parts = [random.choice(ONSETS) + random.choice(VOWELS) for _ in range(syllables)]
        return ("".join(parts) + random.choice(CODAS)).capitalize()

    given = [word(2) for _ in range(max(4, wanted // 6))]
    family: dict[str, None] = {}
    while len(family) < wanted:
        family[word(2)] = None
    return [f"{random.choice(given)} {name}" for name in family]


def _deal_relations(settings: WorldSettings, subjects: list[str], random: Random) -> list[list[str]]:
    """The subjects of every relation: each subject in several, each relation with about as many subjects."""
    holders: list[list[str]] = [[] for _ in range(settings.relations)]
    for subject, wanted in zip(random.sample(subjects, len(subjects)), settings.relation_counts(), strict=True):
        # The relations with the fewest subjects so far, ties broken at random.
        ranked = sorted(range(settings.relations), key=lambda r: (len(holders[r]), random.random()))
        for relation in ranked[:wanted]:
            holders[relation].append(subject)
    return holders


def _record(world: World, case_id: int, fact: Fact) -> dict:
    random = Random(derive(world.settings.seed, "record", case_id))
    relation = RELATIONS[fact.relation]
    objects = relation.objects[: world.settings.objects_per_relation]
    new = random.choice([name for name in objects if name != fact.object])
    prompt, *others = random.sample(relation.templates, len(relation.templates))

    def about(subjects: list[str], wanted: int) -> list[str]:
        chosen = random.sample(subjects, min(wanted, len(subjects)))
        return [random.choice(relation.templates).format(subject) for subject in chosen]

    sharing = [name for name in world.subjects_with(fact.relation, fact.object) if name != fact.subject]
    return {
        "case_id": case_id,
        "pararel_idx": None,
        "requested_rewrite": {
            "prompt": prompt,
            "relation_id": relation.identifier,
            "target_new": {"str": new, "id": f"{relation.identifier}:{new}"},
            "target_true": {"str": fact.object, "id": f"{relation.identifier}:{fact.object}"},
            "subject": fact.subject,
        },
        "paraphrase_prompts": [f"{_sentence(random)} {template.format(fact.subject)}" for template in others[:2]],
        "neighborhood_prompts": about(sharing, NEIGHBOURS),
        "attribute_prompts": about(world.subjects_with(fact.relation, new), ATTRIBUTE_PROMPTS),
        "generation_prompts": [others[i % len(others)].format(fact.subject) for i in range(GENERATION_PROMPTS)],
    }


def _documents(world: World, statements: Iterator[Document], random: Random) -> Iterator[Document]:
    """Documents that tell the statements in turn, with sentences of running text in between."""
    exhausted = False
    while not exhausted:
        text = ""
        objects: list[tuple[int, int]] = []
        for _ in range(random.randint(*SENTENCES_PER_DOCUMENT)):
            is_fact = random.random() < world.settings.fact_share
            sentence = next(statements, None) if is_fact else Document(_sentence(random), ())
            if sentence is None:
                exhausted = True
                break
            objects += [(start + len(text), end + len(text)) for start, end in sentence.objects]
            text += sentence.text + " "
        if text:
            yield Document(text.rstrip(), tuple(objects))


def _sentence(random: Random) -> str:
    """A sentence that states no fact."""
    words = {slot: random.choice(choices) for slot, choices in WORDS.items()}
    return random.choice(SENTENCES).format(**words)
