"""Tables of the almanac: one row per subject, and the relations that columns stand for.

`relations.yaml` says what the facts were written from and which cells are left empty. This module is imported whenever
a study is planned: no heavy imports here.
"""

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import Field

from normgrowth.checked import Checked
from normgrowth.seeds import derive

TABLES = ("countries.csv", "cities.csv", "landmarks.csv", "people.csv")
RELATIONS = "relations.yaml"
FOLDER = Path(__file__).parent

CASE_IDS = 10**9
"""Case ids are below it."""


class Relation(Checked):
    """A column of a table, and how it is asked about. In templates, {} stands for the subject; the object follows."""

    prompt: str
    paraphrases: tuple[str, ...] = ()
    edited: bool = True  # False: only asked about when another relation of the subject is edited
    objects: str | None = None  # table that its objects stand in, most of them
    bears_on: tuple[str, ...] = ()  # columns of the table whose objects an edit would move too
    neighbours: tuple[str, ...] = ()  # relations with objects of the same kind, where no subject shares the object
    alike: tuple[tuple[str, ...], ...] = ()  # objects too near to each other to be edited into one another


class Kind(Checked):
    """What a table is about."""

    generation: tuple[str, ...] = Field(min_length=1)  # prompts for free generation about a subject
    relations: dict[str, Relation]  # by column


class Statement(NamedTuple):
    """A fact: under a relation (`countries.capital`) the subject has the object."""

    relation: str
    subject: str
    article: str  # before the subject in a sentence: "the", or nothing
    object: str

    @property
    def table(self) -> str:
        """Name of the subject's table."""
        return self.relation.split(".")[0]

    @property
    def column(self) -> str:
        """Column of the relation."""
        return self.relation.split(".")[1]

    @property
    def case_id(self) -> int:
        """Number of the fact, which stays when others are added."""
        return derive(0, "almanac", self.relation, self.subject) % CASE_IDS

    def asked(self, template: str) -> str:
        """A template with the subject in the place of {}, behind its article."""
        return placed(template, self.article).replace("{}", self.subject)


def placed(template: str, article: str) -> str:
    """A template with an article before {}; at its beginning, with a capital letter."""
    if not article:
        return template
    return template.replace("{}", f"{article.capitalize() if template.startswith('{}') else article} {{}}")


@cache
def kinds() -> dict[str, Kind]:
    """What the tables are about, by name, in the order of `TABLES`."""
    read = yaml.safe_load((FOLDER / RELATIONS).read_text(encoding="utf-8"))
    return {name: Kind(**read[name]) for name in (Path(table).stem for table in TABLES)}


@cache
def statements() -> tuple[Statement, ...]:
    """Every fact of the tables, by case id, so that any first few are a mixture of all relations."""
    rows = {Path(table).stem: _rows(table) for table in TABLES}
    articles: dict[tuple[str | None, str], str] = {
        (table, row["name"]): row.get("article", "") for table in rows for row in rows[table]
    }
    return tuple(sorted(_of_rows(rows, articles), key=lambda statement: statement.case_id))


def editable_statements() -> list[Statement]:
    """The facts that are edited, by case id."""
    return [statement for statement in statements() if relation_of(statement).edited]


def relation_of(statement: Statement) -> Relation:
    """The relation of a fact."""
    return kinds()[statement.table].relations[statement.column]


def _of_rows(rows: dict[str, list[dict[str, str]]], articles: dict[tuple[str | None, str], str]) -> Iterator[Statement]:
    for table, kind in kinds().items():
        for row in rows[table]:
            for column, relation in kind.relations.items():
                if row[column]:
                    before = articles.get((relation.objects, row[column]), "")
                    object_ = f"{before} {row[column]}".lstrip()
                    yield Statement(f"{table}.{column}", row["name"], row.get("article", ""), object_)


def _rows(table: str) -> list[dict[str, str]]:
    with open(FOLDER / table, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
