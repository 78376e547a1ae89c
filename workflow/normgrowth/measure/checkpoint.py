"""Everything measured at one checkpoint of a run."""

from pathlib import Path

import pandas as pd

from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.measure.ability import ability, cloze_items, read_text
from normgrowth.measure.activations import activations_on, layer_groups
from normgrowth.measure.generation import generation_scores
from normgrowth.measure.geometry import Geometry, compare_activations
from normgrowth.measure.material import Material
from normgrowth.measure.scores import UNASKED, score_facts
from normgrowth.measure.spectra import compare_spectra, leading_of, watched
from normgrowth.state import EditedModel


def measure_checkpoint(
    lm: LanguageModel, material: Material, step: int, *, chain: Path | None, segments: int, expected: dict
) -> dict[str, pd.DataFrame]:
    """All tables of a checkpoint (without names of the run) after `step` edits.

    Args:
        lm: the unedited model; it is brought to the checkpoint in place.
        chain, segments: the run's folder, and how many of its segments lead to the checkpoint.
        expected: metadata that the run's states must carry.
    """
    rank = material.settings["singular_values"]
    text = material.heldout_windows(lm)
    untouched = material.untouched(step)
    items = cloze_items(untouched, material.facts, material.seed)
    edited = EditedModel(lm, chain, segments, expected)
    with edited.undone():
        unedited_text, unedited_spectra = read_text(lm, text), leading_of(watched(lm), rank)
    return {
        "scores": _scores(lm, material, step, untouched),
        "downstream": ability(lm, text, unedited_text, items),
        "spectra": compare_spectra(lm, rank, unedited_spectra, edited.projections),
        **_geometry(lm, material, edited)._asdict(),
    }


def _scores(lm: LanguageModel, material: Material, step: int, untouched: list[Fact]) -> pd.DataFrame:
    """Edited facts (of the unedited model, the first that will be edited) and facts that stay untouched."""
    settings, seed = material.settings, material.seed
    if step:
        facts = subset(material.order[:step], settings["retention_facts"], seed, "retention")
    else:
        facts = material.order[: settings["baseline_facts"]]
    edited_at = {fact.case_id: number for number, fact in enumerate(material.order[:step], start=1)}
    scores = score_facts(lm, facts).assign(moment="retention" if step else UNEDITED)
    scores["edited_at"] = scores["case_id"].map(edited_at) if step else None
    parts = [_with_generations(lm, scores, facts, settings, seed)]
    if untouched:
        parts.append(score_facts(lm, untouched).assign(moment="untouched", edited_at=None, **UNASKED))
    # Columns without a value in one part must not decide the type of the others.
    return pd.concat([part.astype(object) for part in parts], ignore_index=True)


def _with_generations(
    lm: LanguageModel, scores: pd.DataFrame, facts: list[Fact], settings: dict, seed: int
) -> pd.DataFrame:
    """The scores with what is generated for some of the facts."""
    chosen = subset(facts, settings["generation_facts"], seed, "generation")
    if not chosen:
        return scores.assign(**UNASKED)
    generated = generation_scores(lm, chosen, settings["generation_tokens"], seed)
    generated["case_id"] = [fact.case_id for fact in chosen]
    return scores.merge(generated, on="case_id", how="left")


def _geometry(lm: LanguageModel, material: Material, edited: EditedModel) -> Geometry:
    probes = material.probes(lm)

    def pairs():
        for layers in layer_groups(lm, probes):
            with edited.undone():
                before = activations_on(lm, probes, layers)
            # At step 0 nothing is edited, and a second pass would only give the same again.
            yield (activations_on(lm, probes, layers) if edited.projections else before), before

    return compare_activations(pairs(), material.settings["components"])
