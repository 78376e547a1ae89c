"""Probabilities of objects after prompts, teacher forced."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import EncodedTarget, encode_with_target


@dataclass(frozen=True)
class Continuations:
    """Prompts with their objects, as rows from which a model predicts every object's tokens.

    A row ends before its object's last token. Objects share a row where the text of one is a prefix of the other's: two
    objects of a single token need the prompt once.
    """

    count: int  # objects
    ids: torch.Tensor  # [rows, tokens]
    mask: torch.Tensor  # [rows, tokens]
    # One entry per token to predict, [scored]:
    number: torch.Tensor  # of its object
    row: torch.Tensor
    position: torch.Tensor  # of the token before it, where it is predicted
    token: torch.Tensor

    def predictions(self, lm: LanguageModel) -> torch.Tensor:
        """Log-probabilities [scored, vocabulary] where each of the objects' tokens is predicted."""
        hidden = lm.hidden(self.ids, self.mask)[self.row, self.position]
        return log_softmax(lm.logits(hidden).float(), dim=-1)

    def losses(self, predicted: torch.Tensor) -> torch.Tensor:
        """Mean over its tokens of -log p for each object [count]."""
        return self.mean(-predicted.gather(1, self.token[:, None]).squeeze(1))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean [count] of values [scored] over each object's tokens."""
        zeros = torch.zeros(self.count, device=self.ids.device)
        return zeros.index_add(0, self.number, values) / zeros.index_add(0, self.number, torch.ones_like(values))


def lay_out(lm: LanguageModel, encoded: Sequence[EncodedTarget]) -> Continuations:
    """Encoded prompts with objects as one right-padded batch.

    Raises:
        ModelError: when a row is longer than the model's context.
    """
    texts = sorted({ids[:-1] for ids, _ in encoded})
    # Sorted, a text comes right before those it is a prefix of; attention is causal, so their rows predict it too.
    rows = [text for text, after in zip(texts, [*texts[1:], ()], strict=True) if after[: len(text)] != text]
    number: list[int] = []
    row: list[int] = []
    position: list[int] = []
    token: list[int] = []
    for i, (ids, first) in enumerate(encoded):
        number += [i] * (len(ids) - first)
        row += [bisect_left(rows, ids[:-1])] * (len(ids) - first)
        position += range(first - 1, len(ids) - 1)
        token += ids[first:]
    places = (torch.tensor(values, device=lm.device) for values in (number, row, position, token))
    return Continuations(len(encoded), *lm.pad(rows), *places)


def continuations(lm: LanguageModel, prompts: Iterable[tuple[str, str]]) -> Continuations:
    """Pairs of a prompt and an object as one batch.

    Raises:
        FactError: when an object has no tokens of its own.
        ModelError: when a row is longer than the model's context.
    """
    return lay_out(lm, [encode_with_target(lm.tokenizer, prompt, target) for prompt, target in prompts])
