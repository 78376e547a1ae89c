"""ES, PS, NS and RS: is the new object preferred on edited prompts, and the true one where nothing should change?

For a prompt p and an object o, the loss is the mean over o's tokens of -log p(token | p, tokens before), teacher forced
(ROME, arXiv 2202.05262, section 3.4). On a fact's prompt (ES) and paraphrases (PS) the new object should have the lower
loss, on neighbours (NS) the true one, and on prompts about other relations of the subject (RS, relation specificity)
their own object, against the edit's new one. Magnitudes are differences of exp(-loss), the wanted object's minus the
other's. Accuracy asks that every token of the wanted object be the most probable one.

Where a fact was edited before, the former object is one more that must not be preferred: the new object (which is the
true one where an edit is put back) has to beat the true and the former one, and on neighbours the true object has to
beat the new and the former one. Objects of other relations have to beat what edits wrote, the new and the former one,
where these are not the true one. Magnitudes are then to the more probable of the others.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import NamedTuple

import pandas as pd
import torch

from normgrowth.editors.base import Editor, Memory
from normgrowth.facts.orthography import caseless_key
from normgrowth.facts.records import Fact
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.continuations import lay_out
from normgrowth.lm.kept_weights import KeptWeights
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
        a fact without paraphrases, neighbours or prompts about its subject has NaN there, and one whose true object is
        not known wherever it would be compared or wanted.
    """
    asked = [
        (number, kind, [encode_with_target(lm.tokenizer, prompt, one) for one in objects])
        for number, fact in enumerate(facts)
        for kind, prompt, objects in _asked(fact)
    ]
    losses = _losses(lm, {sequence for *_, sequences in asked for sequence in sequences})
    answers: dict[tuple[int, str], list[Answer]] = defaultdict(list)
    for number, kind, sequences in asked:
        answers[number, kind].append(_compare(*(losses[sequence] for sequence in sequences)))
    # Plain lists: one fact is scored after every edit, and a frame takes longer than the model does.
    columns: dict[str, list] = {"case_id": [fact.case_id for fact in facts]}
    for kind in KINDS:
        for place, suffix in enumerate("sma"):
            columns[kind + suffix] = [
                _mean([answer[place] for answer in answers[number, kind]]) for number in range(len(facts))
            ]
    return pd.DataFrame(columns)


def _asked(fact: Fact) -> Iterator[tuple[str, str, list[str]]]:
    """The kind of each prompt of a fact, the prompt, and the objects compared there, the wanted one first."""
    for kind, prompts, wanted in (
        ("e", (fact.question,), fact.target_new),
        ("p", fact.paraphrases, fact.target_new),
        ("n", fact.neighbours, fact.target_true),
    ):
        if not wanted:
            continue  # a true object that is not known
        objects = [wanted, *(other for other in fact.objects if other != wanted)]
        yield from ((kind, prompt, objects) for prompt in prompts)
    for prompt, own in fact.subject_prompts:
        # Another edit of a stream may write the very object of another relation; nothing tells the two apart then.
        if others := [other for other in fact.written if caseless_key(other) != caseless_key(own)]:
            yield "r", prompt, [own, *others]


class Answer(NamedTuple):
    """The comparison of a prompt's objects."""

    preferred: float  # 1 where the wanted object has the lowest loss, or else 0; NaN where there is no other
    margin: float  # the wanted object's probability minus that of the most probable other; NaN where one is no number
    right: float  # 1 where each of the wanted object's tokens is the most probable one, or else 0


def _compare(wanted: tuple[float, bool], *others: tuple[float, bool]) -> Answer:
    """The answer to a prompt by the losses of its objects, each with whether all its tokens are the most probable."""
    probability, *rivals = (math.exp(-loss) for loss, _ in (wanted, *others))
    return Answer(
        preferred=float(all(wanted[0] < loss for loss, _ in others)) if others else math.nan,
        margin=probability - (math.nan if any(map(math.isnan, rivals)) else max(rivals, default=math.nan)),
        right=float(wanted[1]),
    )


def _mean(values: list[float]) -> float:
    """Mean of the values that are numbers; NaN where there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return fmean(numbers) if numbers else math.nan


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
    unedited = KeptWeights(projections)
    matrices = [projection.matrix.clone() for projection in projections]
    scores = []
    for fact in facts:
        with torch.enable_grad():
            editor.edit(lm, {name: tensor.clone() for name, tensor in memory.items()}, [fact])
        changes = [frobenius(now.matrix - before) for now, before in zip(projections, matrices, strict=True)]
        norm = sum(change**2 for change in changes) ** 0.5
        scores.append(score_facts(lm, [fact]).assign(delta_frobenius=norm))
        unedited.put_back()
    return pd.concat(scores, ignore_index=True)
