"""Objects after prompts, teacher forced: the one place where their probabilities are read off."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from normgrowth.language_model import LanguageModel
from normgrowth.prompts import encode_with_target

Encoded = tuple[tuple[int, ...], int]
"""Token ids of prompt and object, and the position of the object's first token."""


@dataclass(frozen=True)
class Continuations:
    """Rows of a prompt and its object; the object's last token is only predicted."""

    ids: torch.Tensor  # [rows, tokens]
    mask: torch.Tensor
    row: torch.Tensor  # [scored], one entry per token to predict
    position: torch.Tensor
    token: torch.Tensor

    def predictions(self, lm: LanguageModel) -> torch.Tensor:
        """Log-probabilities [scored, vocabulary] where each of the objects' tokens is predicted."""
        hidden = lm.hidden(self.ids, self.mask)[self.row, self.position]
        return log_softmax(lm.logits(hidden).float(), dim=-1)

    def losses(self, predicted: torch.Tensor) -> torch.Tensor:
        """Mean over its object's tokens of -log p for each row."""
        return self.mean(-predicted.gather(1, self.token[:, None]).squeeze(1))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean [rows] of values [scored] over each row's tokens."""
        zeros = torch.zeros(len(self.ids), device=self.ids.device)
        return zeros.index_add(0, self.row, values) / zeros.index_add(0, self.row, torch.ones_like(values))


def lay_out(lm: LanguageModel, encoded: Sequence[Encoded]) -> Continuations:
    """Encoded prompts with objects as one right-padded batch."""
    row, position, token = [], [], []
    for number, (ids, first) in enumerate(encoded):
        row += [number] * (len(ids) - first)
        position += range(first - 1, len(ids) - 1)
        token += ids[first:]
    ids, mask = lm.pad([ids[:-1] for ids, _ in encoded])
    return Continuations(ids, mask, *(torch.tensor(values, device=lm.device) for values in (row, position, token)))


def continuations(lm: LanguageModel, prompts: Iterable[tuple[str, str]]) -> Continuations:
    """Prompts and objects as one batch."""
    return lay_out(lm, [encode_with_target(lm.tokenizer, prompt, target) for prompt, target in prompts])
