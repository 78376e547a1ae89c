"""Whether the parts of a study fit together, and whether its inputs are there."""

import os
from collections.abc import Iterator
from pathlib import Path

from normgrowth.editors.families import kind_of
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import HypernetworkSettings
from normgrowth.errors import FactError, ModelError
from normgrowth.study import presets
from normgrowth.study.chosen_editors import choose, controlled_editor, settings_faults
from normgrowth.study.inputs import ASSETS, editable_facts, layers_of, local_path
from normgrowth.study.lengths import length_faults
from normgrowth.study.messages import unknown
from normgrowth.study.pinned_files import published_sets
from normgrowth.study.sections import (
    CheckpointDifference,
    LocalFacts,
    LocalModel,
    LocalText,
    PublishedFacts,
    TrainedModel,
)
from normgrowth.study.study import HELDOUT_SUFFIX, Study

FOLDERS = ("model_sources", "ability")
"""Sections whose local inputs are folders."""

FEWEST_RESERVED = 20
"""Facts below which training a hypernetwork means nothing."""


def faults_of(study: Study) -> list[str]:
    """Everything wrong with the study; faults that would only follow from others are left out."""
    faults = [*_selections(study), *settings_faults(study)]
    later = (_too_few_facts, _untrainable, _unmeasured_vectors, _misfits, length_faults)
    return faults or list(_missing_inputs(study)) or [fault for check in later for fault in check(study)]


def _selections(study: Study) -> Iterator[str]:
    """Names that stand for nothing."""
    of_vectors = {
        f"vectors.{key}": getattr(study.vectors, key) for key in ("editors", "layers", "sites", "steps", "orders")
    }
    lists = {"models": study.models, "editors": study.editors, "ability.tasks": study.ability.tasks, **of_vectors}
    lists |= {f"left_out.{model}": names for model, names in study.left_out.items()}
    lists |= {f"interventions.{name}.models": getattr(i, "models", ()) for name, i in study.interventions.items()}
    for key, names in {key: names or () for key, names in lists.items()}.items():
        yield from (f"{key}: {name!r} stands there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for name, source in study.model_sources.items():
        said = getattr(source, "published_as", None)
        if said is not None and presets.published(said) is None:
            yield unknown(f"model_sources.{name}.published_as: model", said, presets.models())
    for i, name in enumerate(study.models):
        if name not in study.model_sources:
            yield unknown(f"models.{i}: model", name, study.model_sources)
    if study.facts not in study.fact_sources:
        yield unknown("facts: source", study.facts, study.fact_sources)
    for name, source in study.fact_sources.items():
        if isinstance(source, PublishedFacts) and source.name not in published_sets():
            yield unknown(f"fact_sources.{name}.name: published set", source.name, published_sets())
    texts = set(study.text_sources) | study.world_texts
    for key in ("text", "heldout_text"):
        if getattr(study, key) not in texts:
            yield unknown(f"{key}: source", getattr(study, key), texts)
    for model, names in study.left_out.items():
        if model not in study.model_sources:
            yield unknown("left_out: model", model, study.model_sources)
        yield from (
            unknown(f"left_out.{model}: editor", name, EDITORS) for name in names if kind_of(name) not in EDITORS
        )
        if model in study.models and set(study.editors) <= set(names):
            yield f"left_out.{model} leaves out every editor: take the model out of models instead"
    for model, orders in study.more_orders.items():
        if model not in study.model_sources:
            yield unknown("more_orders: model", model, study.model_sources)
        yield from (
            unknown(f"more_orders.{model}: editor", name, study.editors)
            for name in orders
            if kind_of(name) not in EDITORS
        )
    yield from _intervention_names(study, texts)
    yield from (
        unknown("vectors.editors: editor", name, study.editors)
        for name in study.vectors.editors
        if kind_of(name) not in EDITORS
    )
    for name in sorted(set(study.text_sources) & study.world_texts):
        yield f"text_sources.{name}: a world brings a text of this name; choose another"
    for name in study.worlds:
        if name.endswith(HELDOUT_SUFFIX) and name.removesuffix(HELDOUT_SUFFIX) in study.worlds:
            yield f"fact_sources.{name}: another world brings a text of this name; choose another"
    for name, source in study.model_sources.items():
        if isinstance(source, TrainedModel) and source.world not in study.worlds:
            yield unknown(f"model_sources.{name}.world: world", source.world, study.worlds)


def _intervention_names(study: Study, texts: set[str]) -> Iterator[str]:
    for name, what in study.interventions.items():
        key = f"interventions.{name}"
        if isinstance(what, CheckpointDifference):
            wanted = {"base": (what.base, study.model_sources), "result": (what.result, study.model_sources)}
        else:
            wanted = {f"models.{i}": (model, study.model_sources) for i, model in enumerate(what.models or ())}
            wanted |= {"text": (what.text, texts), "facts": (what.facts, study.fact_sources)}
        for part, (value, known) in wanted.items():
            if value is not None and value not in known:
                yield unknown(f"{key}.{part}: source", value, known)


def _missing_inputs(study: Study) -> Iterator[str]:
    """Local inputs of this study that are not there."""
    paths = dict(_local_inputs(study))
    within_assets = [key for key, path in paths.items() if ASSETS in path]
    if within_assets and study.assets is None:
        more = f" and {len(within_assets) - 1} more" if len(within_assets) > 1 else ""
        yield f"{within_assets[0]}{more} refer to {ASSETS}, but assets is not set: add `--config assets=FOLDER`"
    elif within_assets and not Path(study.assets).expanduser().is_dir():
        yield f"assets is {study.assets!r}, but there is no such folder: correct `--config assets=FOLDER`"
    else:
        for key, path in paths.items():
            here = Path(local_path(path, study.assets))
            is_there, what = (here.is_dir(), "folder") if key.startswith(FOLDERS) else (here.is_file(), "file")
            if not is_there:
                yield f"{key} is {path!r}, but there is no {what} {os.path.abspath(here)}: correct the path"


def _local_inputs(study: Study) -> Iterator[tuple[str, str]]:
    """Key and value of every local path that this study uses."""
    for name in study.models:
        if isinstance(source := study.model_sources[name], LocalModel):
            yield f"model_sources.{name}.path", source.path
    if isinstance(source := study.fact_sources[study.facts], LocalFacts):
        yield f"fact_sources.{study.facts}.path", source.path
    for text in dict.fromkeys(name for name in (study.text, study.heldout_text) if name in study.text_sources):
        if isinstance(source := study.text_sources[text], LocalText):
            yield from ((f"text_sources.{text}.paths.{i}", path) for i, path in enumerate(source.paths))
    if study.ability.tasks and study.ability.task_folder is not None:
        yield "ability.task_folder", study.ability.task_folder


def _too_few_facts(study: Study) -> Iterator[str]:
    source = study.fact_sources[study.facts]
    try:
        available = editable_facts(source, study.assets, study.unique_subjects)
    except FactError as error:
        yield f"fact_sources.{study.facts}: {error}"
        return
    if available is None:
        return
    left = available - study.reserved_facts
    which = "facts with distinct subjects" if study.unique_subjects else "facts"
    less = f" less {study.reserved_facts} reserved" if study.reserved_facts else ""
    for key, wanted in {"edits": study.edits, "single_edits": study.single_edits}.items():
        if wanted and wanted > left:
            holds = f"{study.facts!r} holds {available} {which}{less}"
            yield f"{key} is {wanted}: {holds}, and at most so many can be edited"


def _untrainable(study: Study) -> Iterator[str]:
    """Editors that are trained on reserved facts, where none are reserved."""
    names = [*study.editors, *filter(None, (controlled_editor(study, name) for name in study.editors))]
    trained = [name for name in names if issubclass(declaration(kind_of(name)).Settings, HypernetworkSettings)]
    if trained and study.reserved_facts < FEWEST_RESERVED:
        yield (
            f"fact_sources.{study.facts}.reserved is {study.reserved_facts}: editor {trained[0]!r} is trained on facts "
            f"that no run edits; set it to {FEWEST_RESERVED} or more, better hundreds"
        )


def _unmeasured_vectors(study: Study) -> Iterator[str]:
    """Activations that are wanted where no run is measured: orders, layers, steps."""
    if set(study.vectors.editors) & set(study.editors):
        most = max(study.orders, *(n for of in study.more_orders.values() for n in of.values()), 1)
        for order in study.vectors.orders:
            if order >= most:
                yield f"vectors.orders holds {order}: runs have orders 0 to {most - 1}"
        yield from _missing_layers(study)
    every = study.measure.every * study.segment
    for step in study.vectors.steps or ():
        if step > study.edits or (step % every and step != study.edits):
            yield (
                f"vectors.steps holds {step}: runs are measured every {every} edits and at their end, "
                f"{study.edits}; choose one of those"
            )


def _missing_layers(study: Study) -> Iterator[str]:
    for model in study.models:
        try:
            n_layers = layers_of(study, model)
        except ModelError:
            continue  # a fault of its own
        for layer in study.vectors.layers:
            if not -n_layers <= layer < n_layers:
                yield (
                    f"vectors.layers holds {layer}, and model {model!r} has layers 0 to {n_layers - 1}, or -1 to "
                    f"{-n_layers} from the end"
                )


def _misfits(study: Study) -> Iterator[str]:
    """Editors whose layers a model lacks, or whose batches do not fill a segment."""
    for model in study.models:
        try:
            n_layers = layers_of(study, model)
        except ModelError as error:
            yield f"model_sources.{model}: {error}"
            continue
        for name in study.editors:
            if name in study.left_out.get(model, ()):
                continue
            try:
                settings = choose(study, name, model, n_layers).settings
            except ValueError as error:
                yield f"editor_settings.{name}.layers for model {model!r}: {error}"
                continue
            if study.segment % settings.batch:
                yield (
                    f"segment is {study.segment}: it must be a multiple of every editor's batch, and "
                    f"editor_settings.{name}.batch is {settings.batch} for model {model!r}"
                )
