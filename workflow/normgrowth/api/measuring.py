"""Scores of facts, and comparison of a model with the unedited one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from normgrowth.api.editing import Edited
from normgrowth.api.facts import Facts, given_facts, read_given
from normgrowth.api.models import require_loaded
from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import Projection, frobenius
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_prompts, require_scored
from normgrowth.measure.ability import read_text, text_rows
from normgrowth.measure.activations import Probes, activations_on, layer_groups, make_probes
from normgrowth.measure.geometry import compare_norms
from normgrowth.measure.measure_settings import Measure
from normgrowth.measure.model_text import windows_in
from normgrowth.measure.scores import score_facts
from normgrowth.sources.text import windows


def score(lm: LanguageModel, facts: Facts) -> pd.DataFrame:
    """Scores of facts under the model's current weights.

    Returns:
        One row per fact: `case_id`, and by prompts (`e` the edit's own, `p` paraphrases, `n` neighbours, `r` other
        relations of the subject) shares `es, ps, ns, rs`, magnitudes `em, ...` and accuracies `ea, ...`; NaN where a
        fact lacks what is compared (`normgrowth.measure.scores`).

    Raises:
        FactError: when a fact lacks a field or does not fit the model.
    """
    found = given_facts(facts)
    require_loaded(lm)
    for fact in found:
        require_scored(lm, fact)
    return score_facts(lm, found)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model beside the unedited one."""

    norms: pd.DataFrame
    """One row per MLP down-projection and attention output projection: `matrix, layer, frobenius, frobenius_unedited,
    frobenius_ratio, drift_frobenius` (of the difference)."""
    text: pd.DataFrame
    """One row per metric of text: `metric, value, stderr, unedited`; `perplexity`, `log_perplexity_change` and
    `accuracy` of the next token."""
    activations: pd.DataFrame
    """One row per place of the activations, as table `activations` of a study has: `probe, token, layer, site`, norms,
    their ratio and the cosine to the unedited model's."""


def compare(
    lm: LanguageModel,
    unedited: Edited | LanguageModel,
    text: str | Path,
    facts: Facts | None = None,
    *,
    tokens: int = Measure().perplexity_tokens,
    seed: int = 0,
) -> Comparison:
    """Norms, perplexity and activations of a model beside those of the unedited one.

    Args:
        unedited: the edits of this model, which are undone meanwhile, or another model of the same shape.
        text: UTF-8 file, documents separated by blank lines, held out from what the edits were made with.
        facts: whose prompts' activations are followed beside those of the text.
        tokens: of the text for perplexity, at most.
        seed: of the order in which the text's documents are read.

    Raises:
        ModelError: when the two models differ in shape or tokenizer, or the edits are another model's.
        EditError: when the model's weights are not those that the edits left.
        ArtefactError: when the text is none, or too short for a window.
        FactError: when a fact lacks a field or does not fit the model.
    """
    require_loaded(lm)
    found = [] if facts is None else read_given(facts)
    for fact in found:
        require_prompts(lm, fact, [f"{fact.question} "])
    _require_alike(lm, unedited)
    settings = Measure()
    window = min(settings.text_window, lm.context or settings.text_window)
    path = Path(text)
    count = windows_in(lm, path, window, tokens)
    heldout = windows(path, lm.tokenizer, window, count, seed, "perplexity")
    probes = min(settings.text_probes, windows_in(lm, path, window, settings.text_probes * window))
    probed = make_probes(lm, found, windows(path, lm.tokenizer, window, probes, seed, "activation probes"))
    return Comparison(_norms(lm, unedited), _text(lm, unedited, heldout), _activations(lm, unedited, probed))


@contextmanager
def _before(lm: LanguageModel, unedited: Edited | LanguageModel) -> Iterator[LanguageModel]:
    """The unedited model, inside the block: the other one, or this one with its edits undone."""
    if isinstance(unedited, LanguageModel):
        yield unedited
        return
    with unedited.undone():
        yield lm


def _watched(lm: LanguageModel) -> tuple[Projection, ...]:
    return (*lm.anatomy.down_projections, *lm.anatomy.attention_outputs)


def _require_alike(lm: LanguageModel, unedited: Edited | LanguageModel) -> None:
    """Refuse models that cannot be compared.

    Raises:
        ModelError: naming what differs.
    """
    if isinstance(unedited, Edited):
        if unedited.lm is not lm:
            raise ModelError("unedited= holds the edits of another model: give the model that they were made on")
        return
    if not isinstance(unedited, LanguageModel):
        raise ModelError(f"unedited is {type(unedited).__name__}: give what edit returned, or a second loaded model")
    shapes, others = ({p.name: tuple(p.matrix.shape) for p in _watched(one)} for one in (lm, unedited))
    if shapes != others:
        raise ModelError("the two models differ in the names or shapes of their matrices: compare edits of one model")
    if lm.tokenizer.get_vocab() != unedited.tokenizer.get_vocab():
        raise ModelError(
            "the two models have tokenizers of their own, so that texts differ: compare edits of one model"
        )


def _norms(lm: LanguageModel, unedited: Edited | LanguageModel) -> pd.DataFrame:
    changing = set(unedited.settings.edited_layers) if isinstance(unedited, Edited) else set()
    with _before(lm, unedited) as other:
        # Copies of what undoing changes; all else can be read later.
        before = [p.matrix.clone() if p.layer in changing else p.matrix for p in _watched(other)]
    rows = []
    for projection, former in zip(_watched(lm), before, strict=True):
        now, norm = projection.matrix, frobenius(former)
        rows.append(
            {
                "matrix": projection.name,
                "layer": projection.layer,
                "frobenius": frobenius(now),
                "frobenius_unedited": norm,
                "frobenius_ratio": frobenius(now) / norm,
                "drift_frobenius": frobenius(now - former.to(now.device)),
            }
        )
    return pd.DataFrame(rows)


def _text(lm: LanguageModel, unedited: Edited | LanguageModel, heldout: torch.Tensor) -> pd.DataFrame:
    with _before(lm, unedited) as other:
        before = read_text(other, heldout)
    now = text_rows(read_text(lm, heldout), before.loss)
    former = [row["value"] for row in text_rows(before, before.loss)]
    return pd.DataFrame(now).assign(unedited=former)[["metric", "value", "stderr", "unedited"]]


def _activations(lm: LanguageModel, unedited: Edited | LanguageModel, probes: Probes) -> pd.DataFrame:
    rows = []
    for layers in layer_groups(lm, probes):
        now = activations_on(lm, probes, layers)
        with _before(lm, unedited) as other:
            before = activations_on(other, probes, layers)
        for where, vectors in now.items():
            residual = now[where._replace(site="residual")]
            rows.append(where._asdict() | compare_norms(where, vectors, before[where], residual))
    return pd.DataFrame(rows)
