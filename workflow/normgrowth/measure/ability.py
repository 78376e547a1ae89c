"""General ability without a benchmark: held-out text, and a cloze of facts that no run has edited.

Each comes with the standard error that its own items give, so that a single edit order already has an interval.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from normgrowth.facts.orthography import joined
from normgrowth.facts.records import Fact
from normgrowth.lm.continuations import Continuations, continuations
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_prompts
from normgrowth.measure.point import Point
from normgrowth.seeds import derive

ROWS_PER_PASS = 16
"""Windows in one forward pass."""

HELDOUT = "heldout_text"
CLOZE = "cloze"
"""Names in column `task` of held-out text and of the cloze."""

CHOICES = 8
"""Most objects to choose from in a cloze item."""

ITEMS_PER_PASS = 16
"""Items of the cloze in one forward pass."""


def require(point: Point) -> None:
    """Refuse items of the cloze that are longer than the model's context.

    Raises:
        FactError: naming the case whose prompt is too long.
    """
    for item in items_of(point):
        require_prompts(point.lm, item.fact, [joined(item.prompt, choice) for choice in item.choices])


def measure(point: Point) -> dict[str, pd.DataFrame]:
    """Table `downstream`: held-out text, and the cloze of untouched facts."""
    rows = [*text_rows(text_read(point), losses_unedited(point)), *cloze_of_edited(point)]
    return {"downstream": pd.DataFrame([{"by_window": None} | row for row in rows])}


def text_read(point: Point) -> "Reading":
    """Predictions of the held-out text after the point's edits."""
    return point.once(("text read", point.step), lambda: read_text(point.lm, point.text))


def losses_unedited(point: Point) -> torch.Tensor:
    """Mean loss [windows] of the unedited model on held-out text."""
    if point.unedited:
        rows = point.unedited.downstream
        (losses,) = rows[(rows["task"] == HELDOUT) & (rows["metric"] == "perplexity")]["by_window"]
        return torch.tensor(losses, dtype=torch.float64)

    def read() -> Reading:
        with point.undone():
            return read_text(point.lm, point.text)

    return point.once(("text read", 0), read).loss


def cloze_of_edited(point: Point) -> list[dict]:
    """Rows of table `downstream` for the cloze after the point's edits."""
    return point.once(("cloze", point.step), lambda: cloze_rows(point.lm, items_of(point)))


def cloze_of_unedited(point: Point) -> list[dict]:
    """Rows of table `downstream` for the cloze by the unedited model, whose weights the model has."""
    if point.unedited and point.untouched == point.material.untouched(0):
        rows = point.unedited.downstream
        return rows[rows["task"] == CLOZE].to_dict("records")
    return cloze_rows(point.lm, items_of(point))


def items_of(point: Point) -> list["Item"]:
    """Items of the cloze: one for each untouched fact that has any."""

    def make() -> list[Item]:
        return cloze_items(point.untouched, point.material.facts, point.material.seed)

    return point.once(("cloze items", point.step), make)


class Reading(NamedTuple):
    """Next-token predictions in windows of text."""

    loss: torch.Tensor  # [windows], mean over a window's tokens
    right: torch.Tensor  # [windows], share of tokens predicted right
    tokens: int  # predicted, in all windows


@torch.no_grad()
def read_text(lm: LanguageModel, windows: torch.Tensor) -> Reading:
    """Predictions of every next token within windows [count, length]."""
    loss, right = [], []
    for ids in windows.split(ROWS_PER_PASS):
        ids = ids.to(lm.device)
        logits = lm.logits(lm.hidden(ids, torch.ones_like(ids))[:, :-1]).float()
        wanted = ids[:, 1:]
        losses = cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
        loss.append(losses.double().mean(dim=1).cpu())
        right.append((logits.argmax(dim=-1) == wanted).double().mean(dim=1).cpu())
    return Reading(torch.cat(loss), torch.cat(right), windows[:, 1:].numel())


def text_rows(now: Reading, unedited: torch.Tensor) -> list[dict]:
    """Rows of table `downstream` for held-out text.

    `perplexity` is exp of the mean loss: infinite where that overflows, NaN where the model gives no number.
    `log_perplexity_change` is the mean loss minus the unedited model's on the same windows. By window, the one has
    losses and the other their changes.

    Args:
        unedited: mean loss [windows] of the unedited model.
    """
    loss = now.loss.mean().item()
    perplexity = math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan
    task = {"task": HELDOUT, "n": now.tokens}
    windows = {"task": HELDOUT, "n": len(now.loss)}
    change, error = now.loss - unedited, _error(now.loss)
    relative = None if error is None else perplexity * error
    return [
        task | {"metric": "perplexity", "value": perplexity, "stderr": relative, "by_window": now.loss.tolist()},
        windows
        | {
            "metric": "log_perplexity_change",
            "value": change.mean().item(),
            "stderr": _error(change),
            "by_window": change.tolist(),
        },
        task | {"metric": "accuracy", "value": now.right.mean().item(), "stderr": _error(now.right)},
    ]


class Item(NamedTuple):
    """One item of the cloze: a prompt, the objects to choose from, which of them is true, and the fact it is about."""

    prompt: str
    choices: tuple[str, ...]
    true: int
    fact: Fact


def cloze_items(facts: Sequence[Fact], all_facts: Sequence[Fact], seed: int) -> list[Item]:
    """Items of the cloze, one for each of `facts`: its true object among those of other facts with the same relation.

    Facts whose relation has a single object give none.
    """
    by_relation: dict[str, set[str]] = {}
    for fact in all_facts:
        by_relation.setdefault(fact.relation, set()).add(fact.target_true)
    items = []
    for fact in facts:
        others = sorted(by_relation[fact.relation] - {fact.target_true})
        if others:
            random = Random(derive(seed, "cloze", fact.case_id))
            chosen = [fact.target_true, *random.sample(others, min(CHOICES - 1, len(others)))]
            random.shuffle(chosen)
            items.append(Item(fact.question, tuple(chosen), chosen.index(fact.target_true), fact))
    return items


@torch.no_grad()
def cloze_rows(lm: LanguageModel, items: Sequence[Item]) -> list[dict]:
    """Rows of table `downstream`: share of items whose true object has the highest mean log-probability, and chance."""
    if not items:
        return []
    right = []
    for start in range(0, len(items), ITEMS_PER_PASS):
        part = items[start : start + ITEMS_PER_PASS]
        batch: Continuations = continuations(lm, [(item.prompt, choice) for item in part for choice in item.choices])
        losses = batch.losses(batch.predictions(lm)).split([len(item.choices) for item in part])
        right += [float(loss.argmin().item() == item.true) for loss, item in zip(losses, part, strict=True)]
    chance = sum(1 / len(item.choices) for item in items) / len(items)
    scores = torch.tensor(right, dtype=torch.float64)
    return [
        {
            "task": CLOZE,
            "metric": "accuracy",
            "value": scores.mean().item(),
            "stderr": _error(scores),
            "n": len(items),
        },
        {"task": CLOZE, "metric": "chance", "value": chance, "stderr": None, "n": len(items)},
    ]


def _error(values: torch.Tensor) -> float | None:
    """Standard error of a mean of independent values; None for a single one."""
    return (values.std() / len(values) ** 0.5).item() if len(values) > 1 else None
