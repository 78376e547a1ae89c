"""Generation, token by token: greedily, or drawn from the most probable tokens under a seed."""

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import pad_id
from normgrowth.seeds import derive

ROWS_PER_PASS = 64


@torch.no_grad()
def go_on(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], length: int, top_k: int = 1, seed: int = 0
) -> list[list[int]]:
    """Continuations of prompts by `length` tokens, each token drawn from the `top_k` most probable ones (1: greedily).

    Args:
        prompts: token ids of each.
        seed: decides the draws of a prompt, together with its place in `prompts`; the other prompts of its batch
            change rounding only.

    Raises:
        ModelError: when a prompt and what follows it are longer than the model's context.
    """
    if length < 1 or not prompts:
        return [[] for _ in prompts]
    lm.require_room(max(map(len, prompts)) + length - 1)  # the last token is not read
    followed = []
    for start in range(0, len(prompts), ROWS_PER_PASS):
        rows = prompts[start : start + ROWS_PER_PASS]
        seeds = [derive(seed, "generation", start + number) for number in range(len(rows))]
        followed += _rows(lm, rows, length, top_k, seeds).tolist()
    return followed


def _rows(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], length: int, top_k: int, seeds: list[int]
) -> torch.Tensor:
    """Continuations [rows, length]; prompts are padded on the left, so that all end at one position."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    past = DynamicCache(config=lm.model.config)
    longest = max(map(len, prompts))
    blanks = [longest - len(prompt) for prompt in prompts]
    filled = [[pad_id(lm.tokenizer)] * blank + list(prompt) for blank, prompt in zip(blanks, prompts, strict=True)]
    shown = [[0] * blank + [1] * len(prompt) for blank, prompt in zip(blanks, prompts, strict=True)]
    ids, mask = torch.tensor(filled, device=lm.device), torch.tensor(shown, device=lm.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    drawn = []
    for _ in range(length):
        hidden = lm.hidden(ids, mask, positions=positions, past=past)[:, -1]
        ids = _draw(lm.logits(hidden).float(), top_k, generators)
        drawn.append(ids)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
    return torch.cat(drawn, dim=1)


def _draw(logits: torch.Tensor, top_k: int, generators: list[torch.Generator]) -> torch.Tensor:
    """One token [rows, 1] for each row of logits [rows, vocabulary]."""
    best = logits.topk(min(top_k, logits.shape[1]), dim=-1)
    if top_k == 1:
        return best.indices
    # A collapsed model's logits may be NaN: then every token is as good as another.
    weights = best.values.softmax(dim=-1).nan_to_num(1.0).cpu()
    picked = [torch.multinomial(row, 1, generator=g) for row, g in zip(weights, generators, strict=True)]
    return best.indices.gather(1, torch.stack(picked).to(logits.device))
