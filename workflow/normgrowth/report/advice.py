"""What a first look at a model means: whether sequential edits of it will say anything, and what to set before them."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from normgrowth.editors.families import FINE_TUNING, REGRESSION, family_of
from normgrowth.measure.causal_trace import window_around
from normgrowth.measure.trial_edits import Trial
from normgrowth.measure.vetting import Vetted

WORKS = 0.9
"""ES of single edits from which on an editor works."""

HOLDS = 0.5
"""PS of single edits below which they hold on their own prompt alone."""

SPARES = 0.2
"""Most that NS of single edits may lie below that of the unedited model."""

UNFOUND = 0.7
"""Loss above which the new object has less than half the probability where a search ends."""

KNOWS_MUCH = 0.5
"""Share of facts that the model says from which on none need be left out."""

PREFERS_TRUE = 0.7
"""Share of prompts, and of neighbours, on which the model should prefer the true object; by chance it would be half."""

FEW_TRACED = 5
"""Facts below which the causal trace is not to be trusted."""

NEAR = 0.8
"""Part of the peak's effect from which on a layer is as good as the peak."""

LOST = 0.02
"""Least probability that the noise must take away for the trace to say anything."""

IN_EPOCHS = "`learning_rate` or `epochs`"
KNOBS = {"ft_l": "`radius`, `learning_rate` or `steps`", "locft": IN_EPOCHS, "crispedit": IN_EPOCHS}
KNOBS_OF_FAMILY = {FINE_TUNING: "`learning_rate` or `steps`", REGRESSION: "`learning_rate`"}
KNOBS_OF_SEARCH = "`learning_rate`, `steps` or `clamp`"
"""Settings that make an edit go farther: of single editors, of families, and of editors that search a target."""

FAR = 1000
"""Edits within which a norm that doubles is worth a remark: a common length of a run."""

DOUBLED = 3.0
"""Sum of squared changes, each in units of the first norm, that doubles a norm: sqrt(1 + 3) = 2."""


class Verdict(NamedTuple):
    """Answer to whether sequential results on the model will mean something, with the reason."""

    level: Literal["yes", "little", "no"]
    text: str


def works(trial: Trial) -> bool:
    """True where single edits by an editor are made and succeed."""
    return (trial.scores["es"] or 0.0) >= WORKS


def verdict(vetted: Vetted) -> Verdict:
    """The verdict on a model, from what it knows and from the editors that work."""
    knowledge, working = vetted.knowledge, [trial.editor for trial in vetted.trials if works(trial)]
    knows = f"says the true object of {knowledge.said} of {knowledge.asked} facts"
    if knowledge.said == 0:
        return Verdict(
            "no",
            f"Sequential edits of these facts will say nothing about what the model forgets: it {knows}. Norms and "
            "activations can still be followed",
        )
    if not working:
        return Verdict(
            "no",
            f"Sequential edits will say nothing yet: it {knows}, but no editor reaches ES {100 * WORKS:.0f}% with "
            "single edits at these settings",
        )
    editors = f"single edits succeed by {len(working)} of {len(vetted.trials)} editors"
    prompts, neighbours = 1 - (knowledge.scores["es"] or 0.0), knowledge.scores["ns"]
    if prompts < PREFERS_TRUE or (neighbours is not None and neighbours < PREFERS_TRUE):
        places = f"{100 * prompts:.0f}% of prompts"
        places += "" if neighbours is None else f" and {100 * neighbours:.0f}% of neighbours"
        return Verdict(
            "little",
            "Sequential results on this model will say little about what it forgets: it prefers the true object to the "
            f"new one on {places}, where chance is 50%, and {knows}. Norms and activations can be followed: {editors}",
        )
    return Verdict("yes", f"Sequential results on this model will mean something: it {knows}, and {editors}")


def suggestions(vetted: Vetted) -> list[str]:
    """What to set before a study of the model, and what to keep in mind."""
    return [
        *_on_facts(vetted),
        *_on_layers(vetted),
        *_on_norms(vetted),
        *_on_editors(vetted),
        *_on_length(vetted.trials),
        *_on_text(vetted),
    ]


def _on_facts(vetted: Vetted) -> Iterator[str]:
    knowledge = vetted.knowledge
    if knowledge.said == 0:
        yield "Take facts that the model knows, or another model: on these, scores only show what is newly written."
    elif knowledge.said < KNOWS_MUCH * knowledge.asked:
        yield (
            f"The model says {knowledge.said} of {knowledge.asked} facts: with `known: true` at the facts' source, a "
            "study edits those alone."
        )


def _on_layers(vetted: Vetted) -> Iterator[str]:
    trace, default = vetted.trace, vetted.default_layer
    if trace is None:
        return
    if trace.total < LOST:
        yield (
            f"Noise on the subject takes only {trace.total:.3f} of the probability away: the trace says nothing about "
            "the layer to edit."
        )
        return
    peak = trace.peak if trace.peak_beyond_first is None else trace.peak_beyond_first
    there, here = (f"{100 * trace.share(trace.mlp[layer]):.0f}%" for layer in (peak, default))
    beyond = "" if peak == trace.peak else " beyond the first layer"
    doubt = f" With {trace.facts} facts traced, this is a guess." if trace.facts < FEW_TRACED else ""
    near = trace.mlp[default].value >= NEAR * trace.mlp[peak].value
    if near or default in window_around(peak, len(trace.mlp)):
        yield (
            f"Keep the default layer {default}:{beyond} MLPs carry most around layer {peak} ({there} of the lost "
            f"probability; around the default {here}).{doubt}"
        )
    else:
        yield (
            f"Try layer {peak} beside the default {default} (`layers` in an editor's settings): restoring the MLPs "
            f"around it brings back {there} of the probability, the most{beyond}, and around the default {here}. "
            f"Single edits decide which is better, not the trace (arXiv 2301.04213).{doubt}"
        )


def _on_norms(vetted: Vetted) -> Iterator[str]:
    norms, layers = vetted.model.post_norms, vetted.model.layers
    if norms:
        where = "the MLPs" if norms == layers else f"the MLPs of {norms} of {layers} layers"
        yield (
            f"A norm stands behind {where}: the scale of a down-projection cannot matter there, its direction can. "
            "Read growth of the norm as drift."
        )


def _on_editors(vetted: Vetted) -> Iterator[str]:
    """A line for all editors with the same fault."""
    by_fault: dict[str, list[str]] = {}
    for trial in vetted.trials:
        for fault, detail in _faults(trial, vetted.unedited["ns"]):
            by_fault.setdefault(fault, []).append(f"`{trial.editor}` {detail}".strip())
    for fault, found in by_fault.items():
        yield f"{', '.join(found)}: {fault}."


def _faults(trial: Trial, unedited_ns: float | None) -> Iterator[tuple[str, str]]:
    """Faults of an editor's single edits with their remedy, and the number that shows each."""
    if trial.refusal:
        yield trial.refusal, f"refuses {trial.asked - trial.made} of {trial.asked} edits"
    es, ps, ns = (trial.scores[name] for name in ("es", "ps", "ns"))
    if es is None:
        return
    lost = 0.0 if ns is None or unedited_ns is None else unedited_ns - ns
    of_family = KNOBS_OF_FAMILY.get(family_of(trial.editor) or "")
    if es < WORKS:
        unfound = trial.loss is None or trial.loss > UNFOUND
        knobs = KNOBS.get(trial.editor, of_family or KNOBS_OF_SEARCH)
        layer = "its search succeeds, but what is written does not reach the target; try another layer"
        yield (f"its steps are too small or too few; raise {knobs}" if unfound else layer), f"(ES {100 * es:.0f}%)"
    elif ps is not None and ps < HOLDS:
        yield "edits hold on their own prompt alone", f"(PS {100 * ps:.0f}%)"
    if lost > SPARES:
        knob = (IN_EPOCHS if KNOBS.get(trial.editor) == IN_EPOCHS else of_family) or "`clamp` or `learning_rate`"
        yield (
            f"a single edit disturbs neighbours; lower {knob}, or expect an early collapse",
            f"({100 * lost:.0f} points of NS)",
        )


def _on_length(trials: Sequence[Trial]) -> Iterator[str]:
    lengths = sorted((DOUBLED / trial.change**2, trial.editor) for trial in trials if works(trial) and trial.change)
    if not lengths:
        return
    soon = ", ".join(f"after about {_rough(edits)} by `{editor}`" for edits, editor in lengths if edits <= FAR)
    late = [editor for edits, editor in lengths if edits > FAR]
    not_soon = f"not within {FAR:,} by {'the others' if soon else 'any editor'}" if late else ""
    yield (
        "Plan `edits` by growth: with edits of this size, each in a direction of its own, the norm would have doubled "
        f"{', and '.join(filter(None, (soon, not_soon)))}."
    )


def _on_text(vetted: Vetted) -> Iterator[str]:
    if vetted.moment_text and vetted.moment_text.written:
        yield "Second moments are of text that the model wrote itself: give `--text`, of the kind it was trained on."


def _rough(number: float) -> str:
    """A number of edits to two digits."""
    return f"{int(round(number, 2 - len(str(int(number))))):,}"
