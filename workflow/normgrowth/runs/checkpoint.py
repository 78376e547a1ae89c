"""Measurements at one checkpoint of a run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normgrowth.facts.orders import subset
from normgrowth.facts.orthography import joined
from normgrowth.facts.records import Fact
from normgrowth.layout import UNEDITED
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_prompts, require_scored
from normgrowth.measure.ability import Item, ability, cloze_items, read_text
from normgrowth.measure.activations import Activations, activations_on, layer_groups
from normgrowth.measure.generation import generation_scores, require_generations
from normgrowth.measure.geometry import Geometry, compare_activations
from normgrowth.measure.scores import UNASKED, score_facts
from normgrowth.measure.spectra import compare_spectra, leading_of, watched
from normgrowth.runs.material import Material, require_material
from normgrowth.runs.state import EditedModel


class Checkpoint(NamedTuple):
    """A point of a run: the unedited model, or the model after some of the run's segments."""

    step: int  # edits applied
    chain: Path | None  # the run's folder; None for the unedited model
    segments: int  # that lead to the checkpoint
    expected: Mapping[str, object]  # metadata that the run's states must carry


def measure_checkpoint(lm: LanguageModel, material: Material, checkpoint: Checkpoint) -> dict[str, pd.DataFrame]:
    """Tables of everything measured at a checkpoint.

    Args:
        lm: the unedited model; it is brought to the checkpoint in place.

    Returns:
        Tables `scores, downstream, spectra, activations, subspaces, coordinates, cka` by name, with all columns of
        their schemas but the identity columns.

    Raises:
        ModelError: when probes or texts are longer than the model's context.
        FactError: naming the case whose prompt is too long.
        ArtefactError: when a state is missing, damaged or of another run.
    """
    step, rank = checkpoint.step, material.measure.singular_values
    facts, untouched = _facts(material, step), material.untouched(step)
    items = cloze_items(untouched, material.facts, material.seed)
    _require_room(lm, material, facts, untouched, items)
    text = material.heldout_windows(lm)
    chain = checkpoint.chain or Path()  # without segments no folder is read
    edited = EditedModel(lm, chain, checkpoint.segments, checkpoint.expected)
    with edited.undone():
        unedited_text, unedited_spectra = read_text(lm, text), leading_of(watched(lm), rank)
    return {
        "scores": _scores(lm, material, step, facts, untouched),
        "downstream": ability(lm, text, unedited_text, items),
        "spectra": compare_spectra(lm, rank, unedited_spectra, edited.projections),
        **_geometry(lm, material, edited)._asdict(),
    }


def _facts(material: Material, step: int) -> list[Fact]:
    """The edited facts that are scored; of the unedited model, the first that will be edited."""
    if step:
        return subset(material.order[:step], material.measure.retention_facts, material.seed, "retention")
    return material.order[: material.measure.baseline_facts]


def _generated(material: Material, facts: list[Fact]) -> list[Fact]:
    """The scored facts about which the model also writes freely."""
    return subset(facts, material.measure.generation_facts, material.seed, "generation")


def _require_room(
    lm: LanguageModel, material: Material, facts: list[Fact], untouched: list[Fact], items: list[Item]
) -> None:
    """Refuse what is longer than the model's context before anything is measured.

    Raises:
        ModelError: naming the key of the study, its value and the context's length.
        FactError: naming the case whose prompt is too long.
    """
    require_material(lm, material)
    for fact in [*facts, *untouched]:
        require_scored(lm, fact)
    for item in items:
        require_prompts(lm, item.fact, [joined(item.prompt, choice) for choice in item.choices])
    require_generations(lm, _generated(material, facts), material.measure.generation_tokens)


def _scores(lm: LanguageModel, material: Material, step: int, facts: list[Fact], untouched: list[Fact]) -> pd.DataFrame:
    """Table `scores` of edited facts (of the unedited model, the first to be edited) and of untouched facts."""
    edited_at = {fact.case_id: number for number, fact in enumerate(material.order[:step], start=1)}
    scores = score_facts(lm, facts).assign(moment="retention" if step else UNEDITED)
    scores["edited_at"] = scores["case_id"].map(edited_at) if step else None
    parts = [_with_generations(lm, scores, _generated(material, facts), material)]
    if untouched:
        parts.append(score_facts(lm, untouched).assign(moment="untouched", edited_at=None, **UNASKED))
    # Columns without a value in one part must not decide the type of the others.
    return pd.concat([part.astype(object) for part in parts], ignore_index=True)


def _with_generations(lm: LanguageModel, scores: pd.DataFrame, chosen: list[Fact], material: Material) -> pd.DataFrame:
    """Scores with columns `generation_match` and `entropy`, filled for the chosen facts."""
    if not chosen:
        return scores.assign(**UNASKED)
    generated = generation_scores(lm, chosen, material.measure.generation_tokens, material.seed)
    generated["case_id"] = [fact.case_id for fact in chosen]
    return scores.merge(generated, on="case_id", how="left")


def _geometry(lm: LanguageModel, material: Material, edited: EditedModel) -> Geometry:
    probes = material.probes(lm)

    def pairs() -> Iterator[tuple[Activations, Activations]]:
        for layers in layer_groups(lm, probes):
            with edited.undone():
                before = activations_on(lm, probes, layers)
            # At step 0 nothing is edited, and a second pass would only give the same again.
            yield (activations_on(lm, probes, layers) if edited.projections else before), before

    return compare_activations(pairs(), material.measure.components)
