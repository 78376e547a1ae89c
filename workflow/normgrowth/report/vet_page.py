"""What stands on the page about a first look at a model, and its numbers as JSON."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from normgrowth.analysis.edit_scores import PARTS_OF_S, harmonic_mean
from normgrowth.claims.markdown import number
from normgrowth.measure.causal_trace import AverageEffects, window_around
from normgrowth.measure.trial_edits import Trial
from normgrowth.measure.vetting import Vetted
from normgrowth.report.advice import suggestions, verdict
from normgrowth.report.plain_page import Grid, Page, Section

SCORES = ("ES", "PS", "NS", "S")

BAR = 20
"""Length of a bar that stands for the whole."""


def page(vetted: Vetted, model: str, facts: str, presets: Mapping[str, str]) -> Page:
    """The page.

    Args:
        model, facts: names of the model's folder and of the facts' file.
        presets: sources of published settings, by editors that follow them.
    """
    return Page(
        f"A first look at {model}, with {facts} (seed {vetted.seed})",
        f"{verdict(vetted).text}.",
        [
            Section("What it is", [_sheet(vetted)]),
            Section("What it knows", [*_knowledge(vetted)]),
            Section("Where the facts sit", [*_depth(vetted)]),
            Section("Which editors work", [*_editors(vetted, presets)]),
            Section("What to set", [suggestions(vetted) or "Nothing: the defaults will do."]),
        ],
    )


def as_json(vetted: Vetted, model: str, facts: str, presets: Mapping[str, str]) -> str:
    """Everything on the page as JSON; a number that is not finite is null."""
    level, text = verdict(vetted)
    numbers = asdict(vetted)
    if vetted.trace:
        numbers["trace"] |= {"total": vetted.trace.total, "peak": vetted.trace.peak}
    content = {
        "model_folder": model,
        "facts_file": facts,
        "verdict": {"level": level, "text": text},
        "suggestions": suggestions(vetted),
        "presets": dict(presets),
        **numbers,
    }
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _sheet(vetted: Vetted) -> str:
    model = vetted.model
    norms = {0: "no norm stands behind its MLPs", model.layers: "a norm stands behind each of its MLPs"}
    parameters = f"{number(model.parameters / 1e6)} million" if model.parameters >= 1e6 else f"{model.parameters:,}"
    return (
        f"{model.architecture}: {model.layers} layers, width {model.width:,}, keys of width {model.key_width:,}, "
        f"{parameters} parameters, stored as {' and '.join(model.stored_as)} and edited as float32; context "
        f"{'without bound' if model.context is None else f'{model.context:,} tokens'}; "
        f"{norms.get(model.post_norms, f'a norm stands behind {model.post_norms} of its MLPs')}."
        + (f" Its weights: {model.quantisation}." if model.quantisation else "")
    )


def _knowledge(vetted: Vetted) -> Iterator[str]:
    knowledge = vetted.knowledge
    scores = ", ".join(f"{name} {value}" for name, value in zip(SCORES, _percent(knowledge.scores), strict=True))
    yield (
        f"Asked for {knowledge.asked} facts, it says the true object of {knowledge.said} "
        f"({100 * knowledge.said / knowledge.asked:.1f}%), greedily and in full. Unedited scores of {knowledge.scored} "
        f"facts, in percent: {scores}. ES and PS: the new object is more probable than the true one on the fact's "
        "prompt and its paraphrases; NS: the true one is, on neighbours; S: their harmonic mean."
    )
    if vetted.perplexity:
        yield f"Perplexity on the text: {number(vetted.perplexity.value)} ({vetted.perplexity.tokens:,} tokens)."


def _depth(vetted: Vetted) -> Iterator[str | Grid]:
    """The causal trace and the norms, both by layer."""
    trace, norms, default = vetted.trace, vetted.norms, vetted.default_layer
    yield _trace(trace, vetted) if trace else "There is no causal trace: the model says none of the facts."
    marks = {default: ["default"]}
    if trace:
        marks.setdefault(trace.peak, []).insert(0, "peak")
        if trace.peak_beyond_first not in (None, trace.peak):
            marks.setdefault(trace.peak_beyond_first, []).insert(0, "peak beyond 0")
    rows = []
    for layer in range(vetted.model.layers):
        traced = []
        if trace:
            residual, mlp = (100 * trace.share(of[layer]) for of in (trace.residual, trace.mlp))
            traced = [f"{residual:.0f}", f"{mlp:.0f}", "#" * round(BAR * min(1.0, max(0.0, mlp / 100)))]
        measured = [f"{norms.residual[layer]:.4g}", f"{norms.residual_at_subject[layer]:.4g}"]
        rows.append([str(layer), *traced, *measured, f"{norms.mlp_share[layer]:.2f}", ", ".join(marks.get(layer, []))])
    columns = ("layer", *(("residual %", "MLPs %", "") if trace else ()), "norm", "at subject", "MLP/norm", "")
    yield Grid(columns, rows, words=(0, 3, 7) if trace else (0, 4))
    yield (
        (_legend(trace) if trace else "")
        + "Norm: of the residual stream behind the layer, over all tokens of the prompts but their first, and at the "
        "subject's last token; MLP/norm: what the layer's MLP writes there, in units of it. Default: the last layer "
        "that most editors edit by default."
    )


def _trace(trace: AverageEffects, vetted: Vetted) -> str:
    residual = max(range(len(trace.residual)), key=lambda layer: trace.residual[layer].value)
    value, error = trace.mlp[trace.peak]
    return (
        f"On {trace.facts} facts that the model says, noise on the subject's embeddings takes the true object's "
        f"probability from {trace.clean:.3f} to {trace.corrupted:.3f} (causal trace, arXiv 2202.05262: "
        f"{vetted.noise_samples} draws, standard deviation {vetted.noise:.3g}, three times that of the embeddings). "
        f"Of clean outputs of MLPs, those around layer {trace.peak} bring back the most, {value:.3f}"
        f"{'' if error is None else f' ± {error:.3f} (standard error)'}; {trace.agreeing} of the {trace.facts} facts "
        f"have their own peak there.{_beyond(trace)} Of the residual stream, the state behind layer {residual} "
        "brings back the most."
    )


def _beyond(trace: AverageEffects) -> str:
    """What the MLPs beyond the first layer carry, where that one is among those at the peak."""
    beyond = trace.peak_beyond_first
    if beyond in (None, trace.peak):
        return ""
    return (
        " Among them is the first layer's, which reads little more than the token itself: it puts the subject's name "
        f"back rather than what the model knows of it. Beyond it, the MLPs around layer {beyond} bring back the most, "
        f"{trace.mlp[beyond].value:.3f}."
    )


def _legend(trace: AverageEffects) -> str:
    depth = len(trace.mlp)
    return (
        "Residual %, MLPs %: part of the lost probability that comes back when a clean state is put back at the "
        f"subject's last token: the residual stream behind the layer, or the outputs of the "
        f"{len(window_around(depth // 2, depth))} MLPs around it (bars). "
    )


def _editors(vetted: Vetted, presets: Mapping[str, str]) -> Iterator[str | Grid]:
    asked = vetted.trials[0].asked
    yield (
        f"{asked} single edits by each editor, each on the unedited model, at default settings"
        + "".join(f"; {name} by the preset of {source}" for name, source in presets.items())
        + f". Scores in percent{_text_of_moments(vetted)}."
    )
    columns = ("editor", "layers", *SCORES, "loss", "change %", "s/edit", "")
    rows = [["unedited", "", *_percent(vetted.unedited), "", "", "", ""], *map(_row, vetted.trials)]
    yield Grid(columns, rows, words=(0, 1, len(columns) - 1))
    yield (
        "Loss: of the new object where an edit's search or training ended. Change: norm of an edit's change, in "
        "percent of that of the matrices it edits. Seconds are of this machine."
    )


def _text_of_moments(vetted: Vetted) -> str:
    if vetted.moment_text is None:
        return ""
    read, written = vetted.moment_text
    sources = ((read, "of the text"), (written, "that the model wrote"))
    return f"; second moments are of {' and '.join(f'{count:,} tokens {which}' for count, which in sources if count)}"


def _row(trial: Trial) -> list[str]:
    first, last = trial.layers[0], trial.layers[-1]
    run = len(trial.layers) > 1 and trial.layers == tuple(range(first, last + 1))
    layers = f"{first}-{last}" if run else ", ".join(map(str, trial.layers))
    change = None if trial.change is None else 100 * trial.change
    measured = [_short(value) for value in (trial.loss, change, trial.seconds)]
    refused = f"{trial.asked - trial.made} refused" if trial.made < trial.asked else ""
    return [trial.editor, layers, *_percent(trial.scores), *measured, refused]


def _percent(scores: Mapping[str, float | None]) -> list[str]:
    """ES, PS, NS and S in percent; a dash for one that no fact has."""
    parts = [scores[name] for name in PARTS_OF_S]
    there = np.array([part for part in parts if part is not None])
    whole = float(harmonic_mean(there)) if len(there) == len(parts) else None
    return ["–" if value is None else f"{100 * value:.0f}" for value in (*parts, whole)]


def _short(value: float | None) -> str:
    """A number to two digits or more, without an exponent where it can be; a dash where there is none."""
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _plain(value: Any) -> Any:
    """Named tuples as dictionaries, tuples as lists, and None for numbers that are not finite."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
