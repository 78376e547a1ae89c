"""ES, PS and NS: does the model say the new object where it should, and the true one where it should not have changed.

For a prompt p and an object o, the loss is the mean over o's tokens of -log p(token | p, tokens before), teacher forced
(ROME, arXiv 2202.05262, section 3.4). On a fact's prompt (ES) and paraphrases (PS) the new object should have the lower
loss, on neighbours (NS) the true one. Magnitudes are differences of exp(-loss), the wanted object's minus the other's.
Accuracy asks that every token of the wanted object be the most probable one.
"""

from collections.abc import Iterable

import pandas as pd
import torch
from torch.nn.functional import log_softmax

from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode_with_target

TOKENS_PER_PASS = 8192
"""Padded tokens in one forward pass: bounds memory; results do not depend on it beyond rounding."""

Sequence = tuple[tuple[int, ...], int]
"""Token ids of prompt and object, and the position of the object's first token."""


def score_facts(lm: LanguageModel, facts: list[Fact]) -> pd.DataFrame:
    """Scores of each fact under the current weights.

    Returns:
        One row per fact: `case_id`, shares `es, ps, ns`, magnitudes `em, pm, nm`, accuracies `ea, pa, na`; a fact
        without paraphrases or neighbours has NaN there.
    """
    rows = []  # (fact number, kind, sequence of the wanted object, sequence of the other)
    for number, fact in enumerate(facts):
        for kind, prompts, wanted, other in (
            ("e", (fact.question,), fact.target_new, fact.target_true),
            ("p", fact.paraphrases, fact.target_new, fact.target_true),
            ("n", fact.neighbours, fact.target_true, fact.target_new),
        ):
            for prompt in prompts:
                rows.append(
                    (
                        number,
                        kind,
                        encode_with_target(lm.tokenizer, prompt, wanted),
                        encode_with_target(lm.tokenizer, prompt, other),
                    )
                )
    losses = _losses(lm, {sequence for row in rows for sequence in row[2:]})
    prompts = pd.DataFrame(
        [_compare(number, kind, losses[wanted], losses[other]) for number, kind, wanted, other in rows]
    )
    means = prompts.groupby(["fact", "kind"]).mean().unstack("kind")
    scores = pd.DataFrame({"case_id": [fact.case_id for fact in facts]})
    for kind in "epn":
        for suffix in "sma":
            column = (suffix, kind)
            values = means[column] if column in means.columns else pd.Series(dtype="float64")
            scores[kind + suffix] = values.reindex(range(len(facts))).to_numpy()
    return scores


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
def _losses(lm: LanguageModel, sequences: Iterable[Sequence]) -> dict[Sequence, tuple[float, bool]]:
    """Mean loss of each sequence's object, and whether each of its tokens is the most probable one."""
    ordered = sorted(sequences, key=lambda sequence: (len(sequence[0]), sequence))
    results: dict[Sequence, tuple[float, bool]] = {}
    for part in _passes(ordered):
        ids, mask = lm.pad([tokens[:-1] for tokens, _ in part])
        hidden = lm.hidden(ids, mask)
        row, position, token = [], [], []
        for i, (tokens, first) in enumerate(part):
            row += [i] * (len(tokens) - first)
            position += range(first - 1, len(tokens) - 1)
            token += tokens[first:]
        row, position, token = (torch.tensor(x, device=lm.device) for x in (row, position, token))
        predicted = log_softmax(lm.logits(hidden[row, position]).float(), dim=-1)
        loss = -predicted.gather(1, token[:, None]).squeeze(1)
        right = (predicted.argmax(dim=-1) == token).float()
        zeros = torch.zeros(len(part), device=lm.device)
        count = zeros.index_add(0, row, torch.ones_like(loss))
        mean_loss = (zeros.index_add(0, row, loss) / count).tolist()
        all_right = (zeros.index_add(0, row, right) == count).tolist()
        results.update(zip(part, zip(mean_loss, all_right, strict=True), strict=True))
    return results


def _passes(ordered: list[Sequence]) -> Iterable[list[Sequence]]:
    """Cut sequences sorted by length into batches of a bounded number of padded tokens."""
    part: list[Sequence] = []
    for sequence in ordered:
        if part and len(sequence[0]) * (len(part) + 1) > TOKENS_PER_PASS:
            yield part
            part = []
        part.append(sequence)
    if part:
        yield part


def harmonic_mean(es: float, ps: float, ns: float) -> float:
    """S of mean scores: 0 where any of them is 0."""
    return 0.0 if min(es, ps, ns) <= 0 else 3 / (1 / es + 1 / ps + 1 / ns)
