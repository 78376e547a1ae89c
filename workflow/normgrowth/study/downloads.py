"""The files that a study fetches from the web: published sets by name, and any other by address and hash."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from normgrowth.errors import StudyError
from normgrowth.layout import DOWNLOAD
from normgrowth.study.sections import (
    CheckpointDifference,
    FactSource,
    Format,
    GeneratedText,
    LocalFacts,
    PublishedFacts,
    TextSource,
    TrainedIntervention,
    UrlFacts,
    UrlText,
    World,
)
from normgrowth.study.study import Study

PUBLISHED_SETS_FILE = Path(__file__).parent / "published" / "sources.yaml"


class Download(NamedTuple):
    """A file of the web that is pinned by its hash."""

    url: str
    sha256: str
    bytes: int | None = None  # its size, where that is known

    @property
    def path(self) -> str:
        """Path under which the workflow keeps it, named after its hash, so that no other file can stand there."""
        return DOWNLOAD.format(sha256=self.sha256)


class PublishedSet(NamedTuple):
    """A published set of facts."""

    file: Download
    format: Format  # schema of its records
    records: int
    facts: int  # distinct by subject, regardless of case, and relation
    subjects: int  # distinct, regardless of case


@cache
def published_sets() -> dict[str, PublishedSet]:
    """The published sets of facts, by name.

    Raises:
        StudyError: when the file that lists them is not there.
    """
    try:
        entries = yaml.safe_load(PUBLISHED_SETS_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError("the published sources are not there: install the package from a checkout") from None
    return {
        name: PublishedSet(
            Download(entry["url"], entry["sha256"], entry["bytes"]),
            entry["format"],
            entry["records"],
            entry["facts"],
            entry["subjects"],
        )
        for name, entry in entries.items()
    }


def downloads_of(source: FactSource | TextSource) -> list[Download]:
    """Files of the web that a source of facts or text is made from, in its order."""
    if isinstance(source, PublishedFacts):
        return [published_sets()[source.name].file]
    if isinstance(source, UrlFacts):
        return [Download(source.url, source.sha256, source.bytes)]
    if isinstance(source, UrlText):
        return [Download(url, sha256) for url, sha256 in zip(source.urls, source.sha256, strict=True)]
    return []


def format_of(source: LocalFacts | UrlFacts | PublishedFacts) -> Format:
    """Schema of a source's records."""
    return published_sets()[source.name].format if isinstance(source, PublishedFacts) else source.format


def every_download(study: Study) -> dict[str, Download]:
    """Files of the web that any source of the study names, used or not, by hash."""
    sources = [*study.fact_sources.values(), *study.text_sources.values()]
    return {file.sha256: file for source in sources if not isinstance(source, World) for file in downloads_of(source)}


def needed_models(study: Study) -> set[str]:
    """Names of the models that a study reads: those it edits, compares, or lets write its texts."""
    models = {*study.models, *(text.model for text in texts_to_write(study).values())}
    for what in study.interventions.values():
        models |= {what.base, what.result} if isinstance(what, CheckpointDifference) else set()
    return models


def texts_written(study: Study) -> dict[str, GeneratedText]:
    """Texts of the study that a model writes, used or not, by name."""
    return {name: text for name, text in study.text_sources.items() if isinstance(text, GeneratedText)}


def texts_to_write(study: Study) -> dict[str, GeneratedText]:
    """Those of `texts_written` that the study reads."""
    read = _texts_read(study)
    return {name: text for name, text in texts_written(study).items() if name in read}


def needed_downloads(study: Study) -> list[str]:
    """Paths of the files of the web that this study's facts and texts are made from, sorted."""
    facts = {study.facts, *(what.facts for what in _trained_on(study) if what.facts)}
    sources: list[FactSource | TextSource] = [study.fact_sources[name] for name in facts]
    sources += [study.text_sources[name] for name in _texts_read(study).intersection(study.text_sources)]
    return sorted({file.path for source in sources for file in downloads_of(source)})


def _texts_read(study: Study) -> set[str]:
    """Names of the texts that the study's jobs read."""
    return {study.text, study.heldout_text, *(what.text for what in _trained_on(study) if what.text)}


def _trained_on(study: Study) -> list[TrainedIntervention]:
    """Interventions that train a model of the study."""
    return [
        what
        for what in study.interventions.values()
        if not isinstance(what, CheckpointDifference) and (what.models is None or set(what.models) & set(study.models))
    ]
