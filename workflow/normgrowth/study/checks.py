"""Checks of a valid study before any work: its parts fit together, its inputs are there, its models can take them."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from normgrowth.editors.families import kind_of
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import SECOND_MOMENTS, HypernetworkSettings
from normgrowth.errors import FactError, ModelError
from normgrowth.layout import HELDOUT_SUFFIX
from normgrowth.lm.context_length import Asked, too_long
from normgrowth.study import presets
from normgrowth.study.chosen_editors import choose, innermost, settings_faults
from normgrowth.study.downloads import published_sets, texts_to_write, texts_written
from normgrowth.study.inputs import ASSETS, context_of, editable_facts, facts_of_edits, layers_of, local_path
from normgrowth.study.messages import unknown
from normgrowth.study.sections import (
    CheckpointDifference,
    GgufModel,
    LocalFacts,
    LocalModel,
    LocalText,
    PublishedFacts,
    TrainedModel,
    World,
)
from normgrowth.study.study import Study
from normgrowth.training.training_settings import CONTINUED_PRETRAINING

FILE, FOLDER = "file", "folder"

FEWEST_RESERVED = 20
"""Fewest reserved facts for a useful training of a hypernetwork."""


def faults_of(study: Study) -> list[str]:
    """Faults of a study, each in one line; those that follow from others are left out."""
    faults = [*_selections(study), *settings_faults(study)]
    later = (_too_few_facts, _too_little_for_streams, _untrainable, _unmeasured_vectors, _misfits, _too_long)
    return faults or list(_missing_inputs(study)) or [fault for check in later for fault in check(study)]


def lengths_asked(study: Study, model: str) -> Asked:
    """Lengths in tokens that the study requires of a model, by key."""
    asked = {"measure.text_window": study.measure.text_window}
    if study.measure.generation_facts:
        asked["measure.generation_tokens"] = study.measure.generation_tokens
    if _needs_second_moments(study, model):
        asked["second_moments.window"] = study.second_moments.window
    for name, text in texts_to_write(study).items():
        if text.model == model:
            asked[f"text_sources.{name}.document_tokens"] = text.document_tokens
    for name, what in study.interventions.items():
        if isinstance(what, CheckpointDifference) or what.kind != CONTINUED_PRETRAINING:
            continue
        if what.models is None or model in what.models:
            asked[f"interventions.{name}.training.window"] = what.training.window
    return asked


def _selections(study: Study) -> Iterator[str]:
    """Names that are undefined, repeated in one list, or defined twice."""
    yield from _repetitions(study)
    yield from _unknown_inputs(study)
    yield from _unknown_editors(study)
    yield from _intervention_names(study)
    yield from (
        unknown("vectors.editors: editor", name, study.editors)
        for name in study.vectors.editors
        if kind_of(name) not in EDITORS
    )
    yield from _world_names(study)


def _repetitions(study: Study) -> Iterator[str]:
    """Values that stand twice in one list."""
    of_vectors = {
        f"vectors.{key}": getattr(study.vectors, key) for key in ("editors", "layers", "sites", "steps", "orders")
    }
    lists = {"models": study.models, "editors": study.editors, "ability.tasks": study.ability.tasks, **of_vectors}
    lists |= {f"left_out.{model}": names for model, names in study.left_out.items()}
    lists |= {f"interventions.{name}.models": getattr(i, "models", ()) for name, i in study.interventions.items()}
    for key, names in {key: names or () for key, names in lists.items()}.items():
        yield from (f"{key}: {name!r} stands there twice" for name in sorted({n for n in names if names.count(n) > 1}))


def _unknown_inputs(study: Study) -> Iterator[str]:
    """Undefined names of models, facts and texts."""
    for name, model_source in study.model_sources.items():
        said = getattr(model_source, "published_as", None)
        if said is not None and presets.published(said) is None:
            yield unknown(f"model_sources.{name}.published_as: model", said, presets.models())
    for i, name in enumerate(study.models):
        if name not in study.model_sources:
            yield unknown(f"models.{i}: model", name, study.model_sources)
    if study.facts not in study.fact_sources:
        yield unknown("facts: source", study.facts, study.fact_sources)
    for name, fact_source in study.fact_sources.items():
        if isinstance(fact_source, PublishedFacts) and fact_source.name not in published_sets():
            yield unknown(f"fact_sources.{name}.name: published set", fact_source.name, published_sets())
    for key in ("text", "heldout_text"):
        if getattr(study, key) not in _texts(study):
            yield unknown(f"{key}: source", getattr(study, key), _texts(study))


def _unknown_editors(study: Study) -> Iterator[str]:
    """Models and editors in `left_out` and `more_orders` that are undefined, or leave nothing to do."""
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


def _world_names(study: Study) -> Iterator[str]:
    """Undefined worlds and writers of texts, and names that collide with those of a world's texts."""
    for name in sorted(set(study.text_sources) & study.world_texts):
        yield f"text_sources.{name}: a world brings a text of this name; choose another"
    for name, text in texts_written(study).items():
        if text.model not in study.model_sources:
            yield unknown(f"text_sources.{name}.model: model", text.model, study.model_sources)
    for name in study.worlds:
        if name.endswith(HELDOUT_SUFFIX) and name.removesuffix(HELDOUT_SUFFIX) in study.worlds:
            yield f"fact_sources.{name}: another world brings a text of this name; choose another"
    for name, source in study.model_sources.items():
        if isinstance(source, TrainedModel) and source.world not in study.worlds:
            yield unknown(f"model_sources.{name}.world: world", source.world, study.worlds)


def _texts(study: Study) -> set[str]:
    """Names of all texts: those of `text_sources`, and those that worlds bring."""
    return set(study.text_sources) | study.world_texts


def _intervention_names(study: Study) -> Iterator[str]:
    """Undefined models, texts and facts of interventions."""
    for name, what in study.interventions.items():
        key = f"interventions.{name}"
        wanted: dict[str, tuple[str | None, Collection[str]]]
        if isinstance(what, CheckpointDifference):
            wanted = {"base": (what.base, study.model_sources), "result": (what.result, study.model_sources)}
        else:
            wanted = {f"models.{i}": (model, study.model_sources) for i, model in enumerate(what.models or ())}
            wanted |= {"text": (what.text, _texts(study)), "facts": (what.facts, study.fact_sources)}
        for part, (value, known) in wanted.items():
            if value is not None and value not in known:
                yield unknown(f"{key}.{part}: source", value, known)


def _missing_inputs(study: Study) -> Iterator[str]:
    """Local inputs of this study that are not there."""
    inputs, assets = list(_local_inputs(study)), study.assets
    within_assets = [key for key, path, _ in inputs if ASSETS in path]
    if within_assets and assets is None:
        more = f" and {len(within_assets) - 1} more" if len(within_assets) > 1 else ""
        yield f"{within_assets[0]}{more} refer to {ASSETS}, but assets is not set: add `--config assets=FOLDER`"
    elif within_assets and assets is not None and not Path(assets).expanduser().is_dir():
        yield f"assets is {assets!r}, but there is no such folder: correct `--config assets=FOLDER`"
    else:
        for key, path, what in inputs:
            here = Path(local_path(path, assets))
            if not (here.is_dir() if what == FOLDER else here.is_file()):
                yield f"{key} is {path!r}, but there is no {what} {os.path.abspath(here)}: correct the path"


def _local_inputs(study: Study) -> Iterator[tuple[str, str, str]]:
    """Key and value of every local path that this study uses, and whether a file or a folder belongs there."""
    for name in study.models:
        model = study.model_sources[name]
        if isinstance(model, LocalModel):
            yield f"model_sources.{name}.path", model.path, FOLDER
        if isinstance(model, GgufModel) and model.path is not None:
            yield f"model_sources.{name}.path", model.path, FILE
    if isinstance(facts := study.fact_sources[study.facts], LocalFacts):
        yield f"fact_sources.{study.facts}.path", facts.path, FILE
    for name in dict.fromkeys(name for name in (study.text, study.heldout_text) if name in study.text_sources):
        if isinstance(text := study.text_sources[name], LocalText):
            yield from ((f"text_sources.{name}.paths.{i}", path, FILE) for i, path in enumerate(text.paths))
    if study.ability.tasks and study.ability.task_folder is not None:
        yield "ability.task_folder", study.ability.task_folder, FOLDER


def _too_few_facts(study: Study) -> Iterator[str]:
    """Numbers of edits that exceed the study's facts, where their number is known."""
    source = study.fact_sources[study.facts]
    try:
        available = editable_facts(source, study.assets, study.unique_subjects, study.stream)
    except FactError as error:
        yield f"fact_sources.{study.facts}: {error}"
        return
    if available is None:
        return
    left = available - study.reserved_facts
    which = "facts with distinct subjects" if study.unique_subjects else "facts"
    less = f" less {study.reserved_facts} reserved" if study.reserved_facts else ""
    holds = f"{study.facts!r} holds {available} {which}{less}"
    if study.edits > left and (needed := facts_of_edits(study, study.most_orders)) > left:
        of_stream = f", which take {needed} facts by this stream" if study.stream.active else ""
        yield f"edits is {study.edits}{of_stream}: {holds}, and at most {left} can be edited"
    if study.single_edits and study.single_edits > left:
        yield f"single_edits is {study.single_edits}: {holds}, and at most {left} can be edited"
    if study.block and study.block * study.most_orders > left:
        most = left // study.most_orders
        yield f"block is {study.block}: {holds}, so blocks of {study.most_orders} orders hold at most {most} facts each"


def _too_little_for_streams(study: Study) -> Iterator[str]:
    """Streams whose edits are too few for a fact to be edited again, or whose facts have too few objects."""
    source = study.fact_sources[study.facts]
    objects = source.settings.objects_per_relation if isinstance(source, World) else None
    if study.stream.repeats and objects == 2:
        yield (
            f"stream.repeats is {study.stream.repeats:g}: it takes a third object for every relation, and "
            f"fact_sources.{study.facts}.settings.objects_per_relation is 2; raise it"
        )
    if study.stream.active and study.edits <= study.stream.gap:
        yield (
            f"stream.gap is {study.stream.gap}: in {study.edits} edits no fact would be edited again; "
            "lower gap, or raise edits"
        )


def _untrainable(study: Study) -> Iterator[str]:
    """Editors that are trained on reserved facts, where too few are reserved."""
    names = [innermost(study, name) for name in study.editors]
    trained = [name for name in names if issubclass(declaration(kind_of(name)).Settings, HypernetworkSettings)]
    if trained and study.reserved_facts < FEWEST_RESERVED:
        yield (
            f"fact_sources.{study.facts}.reserved is {study.reserved_facts}: editor {trained[0]!r} is trained on facts "
            f"that no run edits; set it to {FEWEST_RESERVED} or more, better hundreds"
        )


def _unmeasured_vectors(study: Study) -> Iterator[str]:
    """Orders, layers and steps of `vectors` at which no run is measured."""
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
    """Layers of `vectors` that a model lacks."""
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
    """Editors whose layers a model lacks, whose batches do not fill a segment or could hold a fact twice, or that begin
    with more facts than are reserved."""
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
                yield f"editor_settings.{innermost(study, name)}.layers for model {model!r}: {error}"
                continue
            batch = f"editor_settings.{name}.batch is {settings.batch} for model {model!r}"
            if study.segment % settings.batch:
                yield f"segment is {study.segment}: it must be a multiple of every editor's batch, and {batch}"
            if settings.working.reserved_facts > study.reserved_facts:
                yield (
                    f"fact_sources.{study.facts}.reserved is {study.reserved_facts}: editor {name!r} begins with "
                    f"{settings.working.reserved_facts} facts that no run edits; raise it to that, or lower "
                    f"editor_settings.{name}.warm_up"
                )
            gap = study.stream.gap
            if study.stream.active and settings.batch > gap:
                yield f"stream.gap is {gap}: no batch may hold two edits of one fact, and {batch}: raise gap"


def _too_long(study: Study) -> Iterator[str]:
    """Lengths beyond the context of a model, for models whose context is already known."""
    for model in study.models:
        yield from too_long(lengths_asked(study, model), context_of(study, model), model)


def _needs_second_moments(study: Study, model: str) -> bool:
    """True where second moments of a model are gathered."""
    if isinstance(study.model_sources[model], TrainedModel):
        return True  # it is vetted by single edits of R-ROME
    try:
        layers = layers_of(study, model)
        editors = [name for name in study.editors if name not in study.left_out.get(model, ())]
        return any(SECOND_MOMENTS in choose(study, name, model, layers).needs for name in editors)
    except (ModelError, ValueError):
        return False  # reported as a fault of its own
