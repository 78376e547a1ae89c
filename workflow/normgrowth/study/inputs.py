"""Properties of a study's inputs, read cheaply before any work, at every start of the workflow."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from normgrowth.errors import ModelError
from normgrowth.facts.almanac.records import almanac_records
from normgrowth.facts.almanac.tables import editable_statements
from normgrowth.facts.importing import subjects_in, take_facts
from normgrowth.facts.orders import distinct_facts
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact, facts_of
from normgrowth.facts.streams import ONCE, Stream, facts_taken, require_objects
from normgrowth.io.provenance import file_sha256
from normgrowth.lm.context_length import context_length
from normgrowth.sources.checkpoint_files import files_there
from normgrowth.sources.gguf_header import Header, read_header
from normgrowth.sources.model_config import layers_in, layers_of_folder, snapshot_folder
from normgrowth.sources.packages import files_of, not_installed
from normgrowth.study import presets
from normgrowth.study.downloads import published_sets
from normgrowth.study.sections import (
    FactSource,
    GgufModel,
    HubModel,
    IncludedFacts,
    LocalFacts,
    LocalModel,
    ModelSource,
    PublishedFacts,
    TrainedModel,
    UrlFacts,
    World,
)
from normgrowth.study.study import Study

ASSETS = "{assets}"
"""Placeholder in paths for the study's `assets`."""

HASHED_BYTES = 64 * 2**20
"""Largest size of a local file that is hashed at every start of the workflow."""


def local_path(path: str, assets: str | None) -> str:
    """Local path of a study as the workflow writes it, relative and with links followed.

    Each file gets one name, since another spelling would look like another input.
    """
    return os.path.relpath(os.path.realpath(os.path.expanduser(path.replace(ASSETS, assets or ASSETS))))


def contents_of(files: Iterable[Path | str]) -> list[str]:
    """Content of local files, wherever they are: hashes, or size and time of last change above `HASHED_BYTES`."""
    return [_content(Path(file)) for file in files]


def contents_of_model(folder: str) -> list[str]:
    """Names and content of the files of a model folder that its import reads."""
    files = files_there(folder)
    return [f"{file.name} {content}" for file, content in zip(files, contents_of(files), strict=True)]


def _content(file: Path) -> str:
    try:
        state = file.stat()
        if state.st_size <= HASHED_BYTES:
            return file_sha256(file)
    except OSError:
        return "not there"  # the import reports it
    return f"{state.st_size} bytes of {state.st_mtime_ns}"


def task_files(folder: str) -> list[str]:
    """Paths of the files of a folder of harness tasks, Python and data among them, sorted."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(map(str, files))


def published_model(name: str, source: ModelSource | None) -> str | None:
    """Published model that a source is: by its `published_as`, else by the model's own name or its repository's."""
    if said := getattr(source, "published_as", None):
        return presets.published(said)
    repository = source.repo.rpartition("/")[2] if isinstance(source, HubModel) else name
    return presets.published(name) or presets.published(repository)


def model_folder(source: LocalModel | HubModel, assets: str | None) -> Path:
    """Folder of a model's files, there or yet to be fetched."""
    if isinstance(source, HubModel):
        return snapshot_folder(source.repo, source.revision)
    return Path(local_path(source.path, assets))


def gguf_header(source: GgufModel, assets: str | None) -> Header | None:
    """Header of a GGUF file; None where its package is not installed.

    Raises:
        ModelError: when the file is missing or is no GGUF file.
    """
    if source.path is not None:
        return read_header([Path(local_path(source.path, assets))])
    return None if not_installed(source.package) else read_header(files_of(source.package, source.files))


def layers_of(study: Study, model: str) -> int:
    """Number of transformer blocks of a model.

    Raises:
        ModelError: when no source states it, or the stated number is impossible.
    """
    source = study.model_sources[model]
    if isinstance(source, TrainedModel):
        return source.training.layers
    if isinstance(source, GgufModel):
        return _layers_of_gguf(model, source, study.assets)
    folder = model_folder(source, study.assets)
    if isinstance(source, LocalModel):
        return layers_of_folder(folder)
    if (config := folder / "config.json").is_file():
        return layers_in(config)
    if source.layers is not None:
        return source.layers
    if published := published_model(model, source):
        return presets.dimensions(published).layers
    raise ModelError(
        f"nothing says how many layers {source.repo} has before it is fetched: set layers, or published_as to one of "
        f"{', '.join(presets.models())}"
    )


def _layers_of_gguf(model: str, source: GgufModel, assets: str | None) -> int:
    """Number of blocks by the file, or, where its package is not installed, by the study or the published model."""
    if header := gguf_header(source, assets):
        if header.layers is None:
            raise ModelError(f"its header names no number of layers ({header.architecture}.block_count)")
        return header.layers
    if source.layers is not None:
        return source.layers
    if published := published_model(model, source):
        return presets.dimensions(published).layers
    raise ModelError(f"{not_installed(source.package)}, or set layers to plan without it")


def context_of(study: Study, model: str) -> int | None:
    """Most tokens that a model reads at once; None where that is not known yet."""
    source = study.model_sources[model]
    if isinstance(source, TrainedModel):
        return source.training.context
    if isinstance(source, GgufModel):
        with suppress(ModelError):  # `layers_of` reports it
            if header := gguf_header(source, study.assets):
                return header.context
        return _published_context(model, source)
    try:
        config = json.loads((model_folder(source, study.assets) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return _published_context(model, source)
    return context_length(config) if isinstance(config, dict) else None


def _published_context(model: str, source: ModelSource) -> int | None:
    published = published_model(model, source)
    return presets.context(published) if published else None


def weights_megabytes(study: Study, model: str) -> int:
    """Approximate size of a model's weights in float32, in MiB; 0 where nothing is known yet."""
    source = study.model_sources[model]
    if isinstance(source, TrainedModel):
        training = source.training
        parameters = 12 * training.layers * training.width**2 + 2 * training.vocabulary * training.width
        return 4 * parameters // 2**20
    if isinstance(source, GgufModel) and (header := gguf_header(source, study.assets)):
        return 4 * header.parameters // 2**20
    if not isinstance(source, LocalModel) and (published := published_model(model, source)):
        return int(4 * presets.dimensions(published).parameters) // 2**20
    if isinstance(source, GgufModel):
        return 0
    return sum(file.stat().st_size for file in model_folder(source, study.assets).glob("*.safetensors")) // 2**20


def editable_facts(source: FactSource, assets: str | None, unique_subjects: bool, stream: Stream = ONCE) -> int | None:
    """Most facts of an edit order, reserved ones included; None for facts that are yet to be fetched.

    Only the subjects of records are read, and the import checks the rest; a stream asks for their relations and objects
    too, so that records are read whole. How many of them a model knows is not known yet.

    Raises:
        FactError: when a local file is no list of such records, or a relation has too few objects for the stream.
    """
    if isinstance(source, World):
        return source.settings.subjects if unique_subjects else sum(source.settings.relation_counts())
    if isinstance(source, UrlFacts):
        return source.limit
    if isinstance(source, PublishedFacts):
        published = published_sets()[source.name]
        most = published.subjects if unique_subjects else published.facts if stream.active else published.records
        return min(source.limit or most, most)
    if stream.active:
        facts = _facts(source, assets)
        require_objects(facts, stream)
        return len(distinct_facts(facts, unique_subjects, stream))
    if isinstance(source, IncludedFacts):
        subjects = [statement.subject for statement in editable_statements()[: source.limit]]
    else:
        subjects = subjects_in(Path(local_path(source.path, assets)), source.format, source.limit)
    return len(set(map(caseless_key, subjects)) if unique_subjects else subjects)


def facts_of_edits(study: Study, orders: int) -> int:
    """The most facts that the edits of an order are about, of the first `orders`."""
    if not study.stream.active:
        return study.edits
    return max(facts_taken(study.stream, study.seed, order, study.edits) for order in range(orders))


def _facts(source: IncludedFacts | LocalFacts, assets: str | None) -> list[Fact]:
    """The facts of a source that needs no network."""
    if isinstance(source, IncludedFacts):
        return facts_of(almanac_records(source.seed, source.limit), source.name)
    file = Path(local_path(source.path, assets))
    return facts_of(take_facts(file, source.format, source.limit).records, file)
