"""The files that a study fetches from the web: published sets by name, and any other by address and hash."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from normgrowth.errors import StudyError
from normgrowth.study.sections import (
    CheckpointDifference,
    FactSource,
    LocalFacts,
    PublishedFacts,
    TextSource,
    UrlFacts,
    UrlText,
    World,
)
from normgrowth.study.study import Study

FILE = Path(__file__).parents[2] / "sources.yaml"
FOLDER = "resources/downloads"


class Download(NamedTuple):
    """A file that is pinned by its hash."""

    url: str
    sha256: str
    bytes: int | None = None

    @property
    def path(self) -> str:
        """Where the workflow keeps it: under its hash, so that no other file can stand there."""
        return f"{FOLDER}/{self.sha256}"


class PublishedSet(NamedTuple):
    """A published set of facts: its file, the schema of its records, and how many there are."""

    file: Download
    format: str
    records: int
    subjects: int  # distinct, regardless of case


@cache
def published_sets() -> dict[str, PublishedSet]:
    """The published sets of facts, by name.

    Raises:
        StudyError: when their list is not there.
    """
    try:
        entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError("the published sources are not there: install the package from a checkout") from None
    return {
        name: PublishedSet(
            Download(entry["url"], entry["sha256"], entry["bytes"]),
            entry["format"],
            entry["records"],
            entry["subjects"],
        )
        for name, entry in entries.items()
    }


def downloads_of(source: FactSource | TextSource) -> list[Download]:
    """The files of a source of facts or text that are fetched, in its order."""
    if isinstance(source, PublishedFacts):
        return [published_sets()[source.name].file]
    if isinstance(source, UrlFacts):
        return [Download(source.url, source.sha256, source.bytes)]
    if isinstance(source, UrlText):
        return [Download(url, sha256) for url, sha256 in zip(source.urls, source.sha256, strict=True)]
    return []


def format_of(source: LocalFacts | UrlFacts | PublishedFacts) -> str:
    """The schema of a source's records."""
    return published_sets()[source.name].format if isinstance(source, PublishedFacts) else source.format


def every_download(study: Study) -> dict[str, Download]:
    """The files that any source of the study fetches, by hash."""
    sources = [*study.fact_sources.values(), *study.text_sources.values()]
    return {file.sha256: file for source in sources if not isinstance(source, World) for file in downloads_of(source)}


def needed_models(study: Study) -> set[str]:
    """The models that this study takes: those it edits, and those that it compares."""
    models = set(study.models)
    for what in study.interventions.values():
        models |= {what.base, what.result} if isinstance(what, CheckpointDifference) else set()
    return models


def needed_downloads(study: Study) -> list[str]:
    """Where the files that this study's facts and texts are fetched as will stand."""
    trained_on = [
        what
        for what in study.interventions.values()
        if not isinstance(what, CheckpointDifference) and (what.models is None or set(what.models) & set(study.models))
    ]
    facts = {study.facts, *(what.facts for what in trained_on if what.facts)}
    texts = {study.text, study.heldout_text, *(what.text for what in trained_on if what.text)}
    sources = [study.fact_sources[name] for name in facts]
    sources += [study.text_sources[name] for name in texts.intersection(study.text_sources)]
    return sorted({file.path for source in sources for file in downloads_of(source)})
