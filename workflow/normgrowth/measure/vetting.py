"""A first look at a model that no study knows: what it knows, where its facts sit, and which editors work on it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mode
from typing import NamedTuple

from normgrowth.editors.settings import EditorSettings, SearchSettings
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.lm.context_templates import sample_contexts
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_edits, require_windows
from normgrowth.measure.ability import read_text, text_rows
from normgrowth.measure.causal_trace import NOISE_SAMPLES, AverageEffects, average, effects_on, noise_size
from normgrowth.measure.depth import NormsByDepth, norms_by_depth
from normgrowth.measure.knowledge import says_true_object
from normgrowth.measure.model_text import Text, text_for_moments, windows_in
from normgrowth.measure.scores import score_facts
from normgrowth.measure.trial_edits import (
    Gathered,
    Trial,
    gather_moments,
    layers_with_moments,
    means_of,
    try_editor,
)
from normgrowth.progress import Progress
from normgrowth.sources.checkpoint_files import MANIFEST, model_files, tensors_of
from normgrowth.sources.manifest import quantisation
from normgrowth.sources.text import windows

ASKED_FACTS = 400
"""Facts that the model is asked for, if the file has as many: one pass each."""

TRACED_FACTS = 20
"""Most facts of the causal trace, of those that the model says."""

STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Types of numbers, by their names in safetensors."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a first look."""

    seed: int
    facts: int  # that are scored unedited
    edits: int  # of these, single edits by each editor
    text: Path | None  # for perplexity and second moments
    window: int  # tokens of one window of it
    perplexity_tokens: int
    moment_tokens: int
    contexts_per_length: int


@dataclass(frozen=True)
class Sheet:
    """What a model is."""

    architecture: str
    layers: int
    width: int  # of the residual stream
    key_width: int  # of what down-projections read
    parameters: int
    stored_as: tuple[str, ...]  # types of the numbers in its files
    quantisation: str | None  # how its weights were quantised before that, where the manifest says that they were
    context: int | None
    post_norms: int  # layers whose MLP has a norm behind it


@dataclass(frozen=True)
class Knowledge:
    """What the unedited model knows."""

    asked: int  # facts
    said: int  # of these, those whose true object greedy decoding gives
    scored: int  # facts
    scores: dict[str, float | None]  # of these, as just after an edit: ES and PS prefer the new object


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of the unedited model on text."""

    value: float
    tokens: int


class MomentText(NamedTuple):
    """Tokens that second moments are of: those of the text, and those that the model wrote itself."""

    read: int
    written: int


@dataclass(frozen=True)
class Vetted:
    """Everything that was measured."""

    model: Sheet
    seed: int
    knowledge: Knowledge
    perplexity: Perplexity | None
    trace: AverageEffects | None  # over facts that the model knows; None where it knows none
    noise: float  # standard deviation of the trace's noise
    noise_samples: int
    norms: NormsByDepth
    default_layer: int  # the last layer that most editors edit by default
    moment_text: MomentText | None  # None where no editor needs second moments
    unedited: dict[str, float | None]  # scores of the edited facts before their edits
    trials: tuple[Trial, ...]


def sheet(folder: Path, lm: LanguageModel) -> Sheet:
    """What the model of a folder is.

    Raises:
        ModelError: when its files cannot be read.
    """
    stored = {tensor.dtype for tensor in tensors_of(model_files(folder)).values()}
    return Sheet(
        architecture=type(lm.model).__name__,
        layers=lm.anatomy.n_layers,
        width=lm.anatomy.hidden_size,
        key_width=max(projection.matrix.shape[1] for projection in lm.anatomy.down_projections),
        parameters=sum(parameter.numel() for parameter in lm.model.parameters()),
        stored_as=tuple(sorted(STORED.get(name, name) for name in stored)),
        quantisation=quantisation(folder) if (folder / MANIFEST).exists() else None,
        context=lm.context,
        post_norms=sum(norm is not None for norm in lm.post_norms),
    )


def vet(
    folder: Path, lm: LanguageModel, facts: list[Fact], chosen: Mapping[str, EditorSettings], asked: Asked
) -> Vetted:
    """Measure the unedited model on some facts, and edit some of them alone by each editor.

    Args:
        folder: of the model.
        facts: all that there are; those that are used are drawn from them.
        chosen: settings by kind of editor, layers filled in.

    Raises:
        FactError: when a fact does not fit the model's context or tokenizer.
        ModelError: when a window of text does not.
        ArtefactError: when the text is none, or too short for a window.
    """
    pool = subset(facts, max(asked.facts, ASKED_FACTS), asked.seed, "vetting")
    scored = subset(pool, asked.facts, asked.seed, "vetting")
    edited = subset(scored, asked.edits, asked.seed, "single edits")
    require_windows(lm, {"a window of text": asked.window})
    require_edits(lm, pool)
    perplexity = None if asked.text is None else _perplexity(lm, asked.text, asked)
    said = says_true_object(lm, pool)
    known = [fact for fact, is_said in zip(pool, said, strict=True) if is_said]
    print(f"the model says the true object of {len(known)} of {len(pool)} facts", file=sys.stderr, flush=True)
    noise = noise_size(lm, pool)
    trace = _trace(lm, subset(known, TRACED_FACTS, asked.seed, "trace"), noise, asked.seed)
    norms = norms_by_depth(lm, scored)
    scores, unedited = _scores(lm, scored), _scores(lm, edited)
    gathered, text = _gather(lm, scored, edited, list(chosen.values()), asked)
    return Vetted(
        model=sheet(folder, lm),
        seed=asked.seed,
        knowledge=Knowledge(len(pool), len(known), len(scored), scores),
        perplexity=perplexity,
        trace=trace,
        noise=noise,
        noise_samples=NOISE_SAMPLES,
        norms=norms,
        default_layer=mode(settings.edited_layers[-1] for settings in chosen.values()),
        moment_text=None if text is None else MomentText(text.read, text.written),
        unedited=unedited,
        trials=tuple(try_editor(lm, name, settings, gathered, edited) for name, settings in chosen.items()),
    )


def _perplexity(lm: LanguageModel, text: Path, asked: Asked) -> Perplexity:
    count = windows_in(lm, text, asked.window, asked.perplexity_tokens)
    found = read_text(lm, windows(text, lm.tokenizer, asked.window, count, asked.seed, "perplexity"))
    (value,) = [row["value"] for row in text_rows(found, found.loss) if row["metric"] == "perplexity"]
    return Perplexity(value, found.tokens)


def _trace(lm: LanguageModel, facts: Sequence[Fact], noise: float, seed: int) -> AverageEffects | None:
    """The causal trace of facts that the model knows; None where it knows none."""
    if not facts:
        return None
    effects = []
    with Progress(len(facts), "facts traced") as progress:
        for fact in facts:
            effects.append(effects_on(lm, fact, noise, seed))
            progress.update()
    return average(effects)


def _scores(lm: LanguageModel, facts: list[Fact]) -> dict[str, float | None]:
    """Mean ES, PS and NS of facts; None for a score that none of them has."""
    return means_of(score_facts(lm, facts))


def _gather(
    lm: LanguageModel, facts: list[Fact], edited: list[Fact], chosen: Sequence[EditorSettings], asked: Asked
) -> tuple[Gathered, Text | None]:
    """What these editors need before their first edit, and the text that second moments are of."""
    contexts: dict[str, list[str]] = {}
    if any(isinstance(settings, SearchSettings) for settings in chosen):
        contexts = sample_contexts(lm, asked.seed, asked.contexts_per_length)
        require_edits(lm, edited, [template for templates in contexts.values() for template in templates])
    layers = layers_with_moments(chosen)
    if not layers:
        return Gathered(contexts, {}, tuple(facts), asked.seed), None
    text = text_for_moments(lm, asked.text, asked.moment_tokens, asked.window, asked.seed)
    moments = gather_moments(lm, text.windows, layers)
    with_gradients = layers_with_moments(chosen, "gradients")
    gradients = gather_moments(lm, text.windows, with_gradients, "gradients") if with_gradients else {}
    return Gathered(contexts, moments, tuple(facts), asked.seed, gradients), text
