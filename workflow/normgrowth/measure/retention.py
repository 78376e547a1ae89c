"""Scores of facts at a checkpoint: of those edited so far, and of those that no edit is about."""

import pandas as pd

from normgrowth.facts.records import Fact
from normgrowth.facts.streams import first_edits
from normgrowth.layout import UNEDITED
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_scored
from normgrowth.measure.generation import generation_scores, require_generations
from normgrowth.measure.material import Material
from normgrowth.measure.point import Point
from normgrowth.measure.scores import UNASKED, score_facts


def require(point: Point) -> None:
    """Refuse facts whose prompts, or free texts about them, are longer than the model's context.

    Raises:
        ModelError: when the length of free texts alone is too long, naming the key of the study.
        FactError: naming the case whose prompt is too long.
    """
    for fact in [*point.facts, *point.untouched]:
        require_scored(point.lm, fact)
    require_generations(point.lm, point.generated, point.material.measure.generation_tokens)


def measure(point: Point) -> dict[str, pd.DataFrame]:
    """Table `scores` of edited facts (of the unedited model, the first to be edited) and of untouched facts.

    A fact that was edited several times is judged by its latest edit.
    """
    lm, step = point.lm, point.step
    edited_at = {fact.case_id: number for number, fact in enumerate(point.material.order[:step], start=1)}
    scores = scores_of_edited(point).assign(moment="retention" if step else UNEDITED)
    scores["edited_at"] = scores["case_id"].map(edited_at) if step else None
    parts = [_with_generations(lm, scores, point.generated, point.material)]
    if point.is_checkpoint and (untouched := point.untouched):
        parts.append(score_facts(lm, untouched).assign(moment="untouched", edited_at=None, **UNASKED))
    # Columns without a value in one part must not decide the type of the others.
    return {"scores": pd.concat([part.astype(object) for part in parts], ignore_index=True)}


def scores_of_edited(point: Point) -> pd.DataFrame:
    """Scores of the edited facts (of the unedited model, of the first to be edited) after the point's edits."""
    return point.once(("scores", point.step), lambda: score_facts(point.lm, point.facts))


def scores_of_unedited(point: Point) -> pd.DataFrame:
    """Scores of the edited facts by the unedited model, whose weights the model has.

    Its table holds the facts that are edited first, as their first edits; what it lacks is scored here.
    """
    if point.unedited is None:
        return score_facts(point.lm, point.facts)
    rows = point.unedited.scores
    known = rows[rows["moment"] == UNEDITED].set_index("case_id", drop=False)
    first = [fact.case_id for fact in first_edits(point.facts) if fact.case_id in known.index]
    others = [fact for fact in point.facts if fact.case_id not in first]
    return pd.concat([known.loc[first], *([score_facts(point.lm, others)] if others else [])], ignore_index=True)


def _with_generations(lm: LanguageModel, scores: pd.DataFrame, chosen: list[Fact], material: Material) -> pd.DataFrame:
    """Scores with columns `generation_match` and `entropy`, filled for the chosen facts."""
    if not chosen:
        return scores.assign(**UNASKED)
    generated = generation_scores(lm, chosen, material.measure.generation_tokens, material.seed)
    generated["case_id"] = [fact.case_id for fact in chosen]
    return scores.merge(generated, on="case_id", how="left")
