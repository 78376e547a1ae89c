"""Cost model of a study: jobs, GPU memory, disk and hours, before it runs.

Bytes follow from shapes. Hours of a GPU follow from published timings (`study/published/costs.yaml`): seconds of a
gradient step grow as a power of the number of parameters, fitted to the timings by least squares. Hours of a processor
core follow from the number of its operations, at a speed that was measured.
"""

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel

from normgrowth.editors.settings import GRADIENT_MOMENTS, NULL_SPACES, SECOND_MOMENTS, EditorSettings
from normgrowth.errors import StudyError
from normgrowth.sources.model_config import layers_in, read_config
from normgrowth.sources.packages import not_installed
from normgrowth.study import presets
from normgrowth.study.chosen_editors import published_model
from normgrowth.study.inputs import gguf_header, model_folder
from normgrowth.study.plan import Plan
from normgrowth.study.presets import Dimensions
from normgrowth.study.sections import GgufModel, TrainedModel
from normgrowth.study.study import Study

COSTS_FILE = Path(__file__).parent / "published" / "costs.yaml"

FLOAT_BYTES, DOUBLE_BYTES = 4, 8

GIGA = 1e9

SEARCH_ROWS = 7
"""Prompts of one fact in a search: six contexts and the divergence's prompt."""

TOKENS_PER_ROW = 24
"""Tokens of one prompt in a search."""

TOKENS_AFTER_SUBJECT = 6
"""Tokens of one prompt that a search step runs: from the subject's last on."""

TOKENS_PER_PROMPT = 12
"""Tokens of a prompt with its object."""

TOKENS_PER_OBJECT = 1.5
"""Tokens of an object."""

PROMPTS_PER_FACT = 13
"""Prompts that a fact is scored on: its own, two paraphrases and ten neighbours."""

READINGS = 4
"""Times that a checkpoint reads the text for perplexity: the edited model, and with altered weights."""

SCORINGS = 3
"""Times that a checkpoint scores its facts."""

BYTES_PER_ACTIVATION = 40
"""Bytes kept for the backward pass, in float32, per token, layer and residual coordinate."""

BASELINE_GIGABYTES = 1.0
"""GPU memory of the device's context and kernels."""


class EditTiming(BaseModel):
    """A published timing of an editor on a model."""

    model: str
    editor: str
    steps: int  # gradient steps of an edit
    seconds: float  # of an edit


class ScoreTiming(BaseModel):
    """A published timing of scoring one fact on a model."""

    model: str
    seconds: float


class Core(BaseModel):
    """Measured speed of one processor core."""

    operations: float  # of float32 in a second, in passes of a few dozen tokens
    step_seconds: float  # of a gradient step beside its operations


class Figures(BaseModel):
    """Data of the cost model."""

    core: Core
    seconds_per_edit: list[EditTiming]
    seconds_per_fact_scored: ScoreTiming
    start_seconds: float  # of a job, until its model is loaded
    cards: dict[str, float]  # memory in gigabytes, by name of the GPU


class Cost(NamedTuple):
    """Costs of all runs of one editor on one model."""

    model: str
    editor: str
    runs: int
    jobs: int
    memory: float  # gigabytes of one job's GPU
    disk: float  # gigabytes of all states
    hours: float  # of one GPU
    core_hours: float  # of one processor core instead


@cache
def figures() -> Figures:
    """Data of the cost model."""
    return Figures(**yaml.safe_load(COSTS_FILE.read_text(encoding="utf-8")))


def costs(study: Study) -> list[Cost]:
    """Costs of a study: one row per model and editor, in the order of the study.

    Raises:
        StudyError: when the shape of a model is not known yet.
    """
    plan = Plan(study)
    return [_cost(plan, *pair) for pair in plan.pairs]


def dimensions(study: Study, model: str) -> Dimensions:
    """Shape of a model, from the table of published models, its folder, or its training settings.

    Raises:
        StudyError: when it is yet to be fetched, or its configuration does not tell.
    """
    if known := published_model(study, model):
        return presets.dimensions(known)
    source = study.model_sources[model]
    if isinstance(source, TrainedModel):
        training = source.training
        return _shape(training.layers, training.width, 4 * training.width, training.vocabulary)
    if isinstance(source, GgufModel):
        return _shape_of_gguf(model, source, study.assets)
    path = model_folder(source, study.assets) / "config.json"
    if not path.is_file():
        raise StudyError(f"the shape of {model!r} is known once it is fetched: run `snakemake downloads`")
    config = read_config(path)
    config |= config.get("text_config") or {}
    hidden, vocabulary = config.get("hidden_size") or config.get("n_embd"), config.get("vocab_size")
    if not hidden or not vocabulary:
        raise StudyError(f"the shape of {model!r} is not known: {path} names no hidden_size (n_embd) or vocab_size")
    return _shape(layers_in(path), hidden, config.get("intermediate_size") or 4 * hidden, vocabulary)


def _shape_of_gguf(model: str, source: GgufModel, assets: str | None) -> Dimensions:
    header = gguf_header(source, assets)
    if header is None:
        raise StudyError(f"the shape of {model!r} is not known: {not_installed(source.package)}")
    if not header.layers or not header.hidden or not header.vocabulary:
        raise StudyError(
            f"the shape of {model!r} is not known: its file names no block_count, embedding_length, tokens"
        )
    keys = header.keys or 4 * header.hidden
    return Dimensions(header.layers, header.hidden, keys, header.vocabulary, header.parameters)


def _shape(layers: int, hidden: int, keys: int, vocabulary: int) -> Dimensions:
    """Shape with the number of parameters of a gated MLP, four attention matrices per layer and tied embeddings."""
    parameters = layers * (4 * hidden**2 + 3 * hidden * keys) + vocabulary * hidden
    return Dimensions(layers, hidden, keys, vocabulary, parameters)


def _cost(plan: Plan, model: str, editor: str) -> Cost:
    study, shape = plan.study, dimensions(plan.study, model)
    orders, checkpoints = plan.orders_of(model, editor), len(plan.checkpoints)
    spec = plan.editor(model, editor)
    settings = spec.settings
    jobs = orders * (plan.segments + checkpoints)
    measure = study.measure
    edits = study.edits * orders
    kept = sum(min(step, measure.retention_facts) + measure.untouched_facts for step in plan.checkpoints)
    scored = edits + orders * kept  # each fact just after its own edit, then some at every checkpoint
    searches = edits * settings.searches
    seconds = searches * seconds_per_edit(shape, settings.working) + scored * seconds_per_score(shape)
    seconds += jobs * figures().start_seconds
    rows = 2 + 2 * study.contexts.per_length  # bare prompt, contexts of two lengths, the divergence's prompt
    core = searches * _core_seconds_per_edit(shape, settings.working, rows)
    scores = PROMPTS_PER_FACT * TOKENS_PER_PROMPT, PROMPTS_PER_FACT * TOKENS_PER_OBJECT
    core += (edits + SCORINGS * orders * kept) * _core_seconds(shape, *scores)
    read = READINGS * orders * checkpoints * measure.perplexity_tokens
    core += _core_seconds(shape, read, read)
    return Cost(
        model,
        editor,
        orders,
        jobs,
        _memory(shape, settings.working, spec.needs) + _squares(shape, settings),
        _disk(plan, shape, settings) * orders,
        seconds / 3600,
        core / 3600,
    )


def seconds_per_edit(shape: Dimensions, settings: EditorSettings) -> float:
    """Seconds of an edit: as many gradient steps as the editor's setting `steps` says, or one."""
    slope, level = _fitted()
    steps = getattr(settings, "steps", 1)
    return steps * math.exp(level + slope * math.log(shape.parameters))


def _core_seconds(shape: Dimensions, tokens: float, predicted: float, per_weight: int = 2) -> float:
    """Seconds of one processor core for a pass over tokens, after `predicted` of which the next one is predicted.

    Args:
        per_weight: operations per weight and token: 2 forward, 2 for gradients of activations, 2 for those of weights.
    """
    head = shape.vocabulary * shape.hidden  # tied to the embedding, which only looks up
    used = tokens * (shape.parameters - head) + predicted * head
    return per_weight * used / figures().core.operations


def _core_seconds_per_edit(shape: Dimensions, settings: EditorSettings, rows: int) -> float:
    """Seconds of one processor core for an edit; a search of `rows` prompts takes gradients of activations alone."""
    if hasattr(settings, "clamp"):
        step = _core_seconds(shape, rows * TOKENS_AFTER_SUBJECT, rows * TOKENS_PER_OBJECT, per_weight=4)
    else:
        step = _core_seconds(shape, TOKENS_PER_PROMPT, TOKENS_PER_OBJECT, per_weight=6)
    return getattr(settings, "steps", 1) * (figures().core.step_seconds + step)


@cache
def _fitted() -> tuple[float, float]:
    """Slope and level of log seconds per gradient step against log parameters."""
    points = [
        (math.log(presets.dimensions(row.model).parameters), math.log(row.seconds / row.steps))
        for row in figures().seconds_per_edit
    ]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


def seconds_per_score(shape: Dimensions) -> float:
    """Seconds of scoring one fact."""
    anchor = figures().seconds_per_fact_scored
    return anchor.seconds * shape.parameters / presets.dimensions(anchor.model).parameters


def _memory(shape: Dimensions, settings: EditorSettings, needs: frozenset[str]) -> float:
    """Gigabytes of the GPU: weights, copies of edited matrices, what was gathered, activations of the search."""
    layers = len(settings.layers or ())  # filled in by `choose`
    edited = layers * shape.hidden * shape.keys * FLOAT_BYTES
    gathered = layers * shape.keys**2 * FLOAT_BYTES if needs & {SECOND_MOMENTS, NULL_SPACES} else 0
    trained = not gathered or GRADIENT_MOMENTS in needs
    rows = SEARCH_ROWS * settings.batch
    activations = rows * TOKENS_PER_ROW * shape.layers * shape.hidden * BYTES_PER_ACTIVATION
    logits = 3 * rows * shape.vocabulary * FLOAT_BYTES
    optimiser = 3 * edited if trained else 0  # gradients and Adam's moments, or a solve's own copies
    total = shape.parameters * FLOAT_BYTES + 2 * edited + 2 * gathered + activations + logits + optimiser
    return BASELINE_GIGABYTES + total / GIGA


def _disk(plan: Plan, shape: Dimensions, settings: EditorSettings) -> float:
    """Gigabytes of one order's states: rank-one factors of each edit and layer, or the matrices of each segment."""
    layers = len(settings.layers or ())
    factors = plan.study.edits * layers * (shape.hidden + shape.keys) * FLOAT_BYTES
    dense = plan.segments * layers * shape.hidden * shape.keys * FLOAT_BYTES
    changes = min(factors, dense) / GIGA if hasattr(settings.working, "clamp") else dense / GIGA
    return changes + plan.segments * _squares(shape, settings)


def _squares(shape: Dimensions, settings: EditorSettings) -> float:
    """Gigabytes of the square matrices that an editor remembers."""
    return len(settings.layers or ()) * settings.squares * shape.keys**2 * DOUBLE_BYTES / GIGA
