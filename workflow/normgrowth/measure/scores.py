"""ES, PS, NS and RS: is the new object preferred on edited prompts, and the true one where nothing should change?

For a prompt p and an object o, the loss is the mean over o's tokens of -log p(token | p, tokens before), teacher forced
(ROME, arXiv 2202.05262, section 3.4). On a fact's prompt (ES) and paraphrases (PS) the new object should have the lower
loss, on neighbours (NS) the true one, and on prompts about other relations of the subject (RS, relation specificity)
their own object, against the edit's new one. Magnitudes are differences of exp(-loss), the wanted object's minus the
other's. Accuracy asks that every token of the wanted object be the most probable one.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.continuations import lay_out
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import EncodedTarget as Encoded
from normgrowth.lm.tokens import encode_with_target

UNASKED = {"generation_match": None, "entropy": None}
"""Columns of table `scores` that only free generation fills, with their values where none was asked for."""

KINDS = "epnr"
"""Kinds of prompts: the edit's own, paraphrases, neighbours, and other relations of the subject."""

TOKENS_PER_PASS = 8192
"""Padded tokens in one forward pass: bounds memory; results do not depend on it beyond rounding."""


def score_facts(lm: LanguageModel, facts: list[Fact]) -> pd.DataFrame:
    """Scores of each fact under the current weights.

    Returns:
        One row per fact: `case_id`, shares `es, ps, ns, rs`, magnitudes `em, pm, nm, rm`, accuracies `ea, pa, na, ra`;
        a fact without paraphrases, neighbours or prompts about its subject has NaN there.
    """
    rows = []  # (fact number, kind, sequence of the wanted object, sequence of the other)
    for number, fact in enumerate(facts):
        for kind, prompt, wanted, other in _asked(fact):
            with_object = partial(encode_with_target, lm.tokenizer, prompt)
            rows.append((number, kind, with_object(wanted), with_object(other)))
    losses = _losses(lm, {sequence for row in rows for sequence in row[2:]})
    prompts = pd.DataFrame(
        [_compare(number, kind, losses[wanted], losses[other]) for number, kind, wanted, other in rows]
    )
    means = prompts.groupby(["fact", "kind"]).mean().unstack("kind")
    scores = pd.DataFrame({"case_id": [fact.case_id for fact in facts]})
    for kind in KINDS:
        for suffix in "sma":
            column = (suffix, kind)
            values = means[column] if column in means.columns else pd.Series(dtype="float64")
            scores[kind + suffix] = values.reindex(range(len(facts))).to_numpy()
    return scores


def _asked(fact: Fact) -> Iterator[tuple[str, str, str, str]]:
    """The kind of each prompt of a fact, the prompt, the object wanted there, and the other one."""
    new, true = fact.target_new, fact.target_true
    yield "e", fact.question, new, true
    yield from (("p", prompt, new, true) for prompt in fact.paraphrases)
    yield from (("n", prompt, true, new) for prompt in fact.neighbours)
    yield from (("r", prompt, target, new) for prompt, target in fact.subject_prompts)


def _compare(number: int, kind: str, wanted: tuple[float, bool], other: tuple[float, bool]) -> dict:
    probability, rival = (float(torch.tensor(-loss, dtype=torch.float64).exp()) for loss in (wanted[0], other[0]))
    return {
        "fact": number,
        "kind": kind,
        "s": float(wanted[0] < other[0]),
        "m": probability - rival,
        "a": float(wanted[1]),
    }


@torch.no_grad()
def _losses(lm: LanguageModel, sequences: Iterable[Encoded]) -> dict[Encoded, tuple[float, bool]]:
    """Mean loss of each sequence's object, and whether each of its tokens is the most probable one."""
    # By length of the prompt, so that the objects of one prompt fall into the same pass and share its rows.
    ordered = sorted(sequences, key=lambda sequence: (sequence[1], sequence[0]))
    results: dict[Encoded, tuple[float, bool]] = {}
    for part in _passes(ordered):
        batch = lay_out(lm, part)
        predicted = batch.predictions(lm)
        right = (predicted.argmax(dim=-1) == batch.token).float()
        mean_loss, all_right = batch.losses(predicted).tolist(), (batch.mean(right) == 1).tolist()
        results.update(zip(part, zip(mean_loss, all_right, strict=True), strict=True))
    return results


def _passes(ordered: list[Encoded]) -> Iterable[list[Encoded]]:
    """Cut sequences into batches of a bounded number of padded tokens."""
    part: list[Encoded] = []
    longest = 0
    for sequence in ordered:
        longest = max(longest, len(sequence[0]))
        if part and longest * (len(part) + 1) > TOKENS_PER_PASS:
            yield part
            part, longest = [], len(sequence[0])
        part.append(sequence)
    if part:
        yield part


@torch.no_grad()
def score_single_edits(lm: LanguageModel, editor: Editor, memory: Memory, facts: list[Fact]) -> pd.DataFrame:
    """Scores of each fact after its own edit on the unedited model; the parameters end bit for bit as before.

    Args:
        memory: the editor's memory before its first edit; it is not changed.

    Returns:
        The columns of `score_facts`, and `delta_frobenius`, the norm of the edit's change over all edited matrices
        (not their biases).
    """
    projections = [lm.anatomy.down_projections[layer] for layer in editor.layers]
    parameters = [parameter for projection in projections for parameter in projection.parameters.values()]
    unedited = [parameter.clone() for parameter in parameters]
    matrices = [projection.matrix.clone() for projection in projections]
    scores = []
    for fact in facts:
        with torch.enable_grad():
            editor.edit(lm, {name: tensor.clone() for name, tensor in memory.items()}, [fact])
        changes = [frobenius(now.matrix - before) for now, before in zip(projections, matrices, strict=True)]
        norm = sum(change**2 for change in changes) ** 0.5
        scores.append(score_facts(lm, [fact]).assign(delta_frobenius=norm))
        for parameter, original in zip(parameters, unedited, strict=True):
            parameter.copy_(original)
    return pd.concat(scores, ignore_index=True)
