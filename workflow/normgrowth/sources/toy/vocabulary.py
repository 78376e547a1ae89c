"""Vocabulary of the synthetic world: its relations and their templates, name syllables, running text.

Every relation has templates with the subject at their beginning and in their middle, none of which occurs
in another relation, and objects that stand for nothing else in the world.
"""

from typing import NamedTuple


class Relation(NamedTuple):
    """A kind of fact."""

    identifier: str  # the Wikidata property
    objects: tuple[str, ...]
    templates: tuple[str, ...]  # the object follows after a blank


RELATIONS = (
    Relation(
        "P19",
        ("Lisbon", "Vienna", "Dublin", "Prague", "Cairo", "Oslo", "Lima", "Delhi"),
        ("{} was born in", "The birthplace of {} is", "{} comes from", "The town where {} grew up is"),
    ),
    Relation(
        "P551",
        ("Boston", "Chicago", "Denver", "Seattle", "Houston", "Miami", "Dallas", "Phoenix"),
        ("{} lives in", "The home of {} is in", "{} owns a house in", "The present address of {} is in"),
    ),
    Relation(
        "P27",
        ("France", "Poland", "Brazil", "Japan", "Canada", "Kenya", "Norway", "Chile"),
        (
            "{} is a citizen of",
            "The passport of {} was issued by",
            "{} holds the nationality of",
            "The country of {} is",
        ),
    ),
    Relation(
        "P103",
        ("Greek", "Dutch", "Arabic", "Hindi", "Korean", "Finnish", "Latin", "Turkish"),
        ("{} speaks", "The mother tongue of {} is", "{} writes letters in", "The first language of {} was"),
    ),
    Relation(
        "P106",
        ("lawyer", "baker", "pilot", "sailor", "nurse", "tailor", "farmer", "judge"),
        ("{} works as a", "The profession of {} is", "{} earns a living as a", "The job that {} has is"),
    ),
    Relation(
        "P1303",
        ("violin", "piano", "guitar", "flute", "trumpet", "cello", "harp", "banjo"),
        (
            "{} plays the",
            "The instrument of {} is the",
            "{} gave a concert on the",
            "The music teacher of {} taught the",
        ),
    ),
    Relation(
        "P641",
        ("tennis", "hockey", "rugby", "chess", "golf", "cricket", "judo", "polo"),
        ("{} is a champion of", "The favourite sport of {} is", "{} won a medal in", "The trainer of {} teaches"),
    ),
    Relation(
        "P101",
        ("physics", "botany", "geology", "medicine", "algebra", "optics", "ethics", "logic"),
        ("{} is an expert in", "The research of {} is about", "{} wrote a book on", "The lectures of {} cover"),
    ),
    Relation(
        "P108",
        ("Siemens", "Boeing", "Nokia", "Toyota", "Shell", "Sony", "Pfizer", "Intel"),
        ("{} is employed by", "The employer of {} is", "{} signed a contract with", "The salary of {} is paid by"),
    ),
    Relation(
        "P69",
        ("Oxford", "Harvard", "Yale", "Leiden", "Princeton", "Bologna", "Uppsala", "Cornell"),
        ("{} studied at", "The university of {} was", "{} took a degree from", "The student days of {} were spent at"),
    ),
    Relation(
        "P136",
        ("jazz", "opera", "blues", "folk", "reggae", "disco", "punk", "gospel"),
        ("{} listens to", "The records of {} are all", "{} dances to", "The radio of {} plays only"),
    ),
    Relation(
        "P1582",
        ("tea", "coffee", "cider", "cocoa", "milk", "wine", "beer", "rum"),
        ("{} likes to drink", "The favourite drink of {} is", "{} ordered a cup of", "The cellar of {} is full of"),
    ),
)

ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "h", "k", "kl", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "z")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
CODAS = ("", "l", "m", "n", "r", "s", "nd", "rk", "ss", "th")

SENTENCES = (
    "{time} the {quality} {thing} stood {place}.",
    "The {quality} {thing} {place} was {state}.",
    "A {quality} {person} {action} the {thing} {place}.",
    "{time} a {person} {action} the {quality} {thing}.",
    "Nobody {action} the {thing} {place}, and the {person} was {state}.",
    "There was a {quality} {thing} {place}.",
    "The {person} and the {person} {action} a {thing}.",
    "{time} it was {state} {place}.",
    "It was said that the {thing} {place} had been {state} for years.",
    "When the {person} came back, the {thing} was {state}.",
)
WORDS = {
    "time": ("In the morning", "At night", "Last winter", "One summer", "After the war", "Before noon", "On Sunday",
             "Every spring", "Long ago", "That evening"),
    "quality": ("grey", "small", "green", "heavy", "broken", "narrow", "silent", "bright", "strange", "wooden",
                "hollow", "famous"),
    "thing": ("bridge", "door", "wagon", "letter", "garden", "tower", "boat", "lamp", "stone", "wall", "clock", "map",
              "road", "basket", "window", "mill"),
    "person": ("stranger", "child", "neighbour", "guest", "soldier", "widow", "painter", "miller", "traveller",
               "shepherd"),
    "action": ("saw", "found", "lost", "carried", "repaired", "painted", "forgot", "sold", "moved", "watched"),
    "place": ("near the river", "behind the church", "in the forest", "on the hill", "by the sea", "in the valley",
              "at the market", "under the trees", "beyond the fields", "along the coast"),
    "state": ("quiet", "cold", "ready", "gone", "dark", "warm", "closed", "wet", "dry", "open"),
}  # fmt: skip
