"""The prompts of a target search, laid out as one padded batch.

Each fact has its question and new object under every context, the bare prompt first, and the KL prompt
"<subject> is a", on whose next token the edited and the unedited model are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from normgrowth.facts.orthography import joined
from normgrowth.facts.records import Fact
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode, encode_with_target, fill, last_token_of


@dataclass(frozen=True)
class Prompt:
    """One prompt of a fact: a context with the question and the target, or the KL prompt."""

    ids: tuple[int, ...]
    subject_last: int
    target_at: int | None  # position of the target's first token; None for the KL prompt

    @property
    def inputs(self) -> tuple[int, ...]:
        """Tokens of the forward pass; the target's last one is only predicted."""
        return self.ids if self.target_at is None else self.ids[:-1]

    @property
    def tokens_to_run(self) -> int:
        """Number of tokens from the subject's last one on."""
        return len(self.inputs) - self.subject_last


@dataclass(frozen=True)
class Rows:
    """The prompts of some facts: for each fact its contexts (the bare prompt first), then its KL prompt."""

    ids: torch.Tensor  # [rows, tokens]
    mask: torch.Tensor  # [rows, tokens]
    subject_last: torch.Tensor  # [rows]
    fact: torch.Tensor  # [rows], the row's fact within the batch
    bare: torch.Tensor  # [facts], the row of each bare prompt
    kl_prompt: torch.Tensor  # [facts], the row of each KL prompt
    scored_row: torch.Tensor  # [scored], one entry per target token to predict
    scored_position: torch.Tensor  # in its row, of the token before it
    scored_token: torch.Tensor
    scored_weight: torch.Tensor  # weight of its log-probability in the fact's loss
    scored_in_context: torch.Tensor  # 1 under a context, 0 in the bare prompt (1 where there is no other)

    def select(self, facts: list[int]) -> tuple["Rows", torch.Tensor]:
        """The rows of these facts, with facts and rows renumbered, and the old numbers of the rows."""
        kept_facts = torch.tensor(facts, device=self.ids.device)
        number_of_fact = torch.full((len(self.bare),), -1, device=self.ids.device)
        number_of_fact[kept_facts] = torch.arange(len(facts), device=self.ids.device)
        kept = number_of_fact[self.fact] >= 0
        number_of_row = kept.cumsum(0) - 1
        scored = kept[self.scored_row]
        rows = Rows(
            self.ids[kept],
            self.mask[kept],
            self.subject_last[kept],
            number_of_fact[self.fact[kept]],
            number_of_row[self.bare[kept_facts]],
            number_of_row[self.kl_prompt[kept_facts]],
            number_of_row[self.scored_row[scored]],
            self.scored_position[scored],
            self.scored_token[scored],
            self.scored_weight[scored],
            self.scored_in_context[scored],
        )
        return rows, kept.nonzero().squeeze(1)


def prompts_of(lm: LanguageModel, fact: Fact, contexts: list[str]) -> list[Prompt]:
    """The prompts of one fact: under each context, then the KL prompt."""
    prompts = []
    for context in contexts:
        text, span = fill(context, fact.question, fact.subject_span)
        ids, target_at = encode_with_target(lm.tokenizer, text, fact.target_new)
        whole = encode(lm.tokenizer, joined(text, fact.target_new))
        prompts.append(Prompt(ids, last_token_of(whole, span), target_at))
    # " is a" only ends the subject's last token; the row is read at that token, so the language does not matter.
    kl_prompt = encode(lm.tokenizer, f"{fact.subject} is a")
    prompts.append(Prompt(kl_prompt.ids, last_token_of(kl_prompt, (0, len(fact.subject))), None))
    return prompts


def lay_out(lm: LanguageModel, prompts: list[list[Prompt]]) -> Rows:
    """Rows of the facts' prompts, fact by fact."""
    rows: list[tuple[int, ...]] = []
    subject_last, fact_of, bare, kl_prompt = [], [], [], []
    scored: list[tuple[int, int, int, float, float]] = []
    for number, of_fact in enumerate(prompts):
        contexts = len(of_fact) - 1
        bare.append(len(rows))
        for prompt in of_fact:
            if prompt.target_at is None:
                kl_prompt.append(len(rows))
            else:
                length = len(prompt.ids) - prompt.target_at
                weight = 1.0 / (length * contexts)
                in_context = float(len(rows) != bare[-1] or contexts == 1)
                for position in range(prompt.target_at, len(prompt.ids)):
                    scored.append((len(rows), position - 1, prompt.ids[position], weight, in_context))
            rows.append(prompt.inputs)
            subject_last.append(prompt.subject_last)
            fact_of.append(number)
    ids, mask = lm.pad(rows)

    scored_rows, positions, tokens, weights, in_contexts = zip(*scored, strict=True)

    def on_device(values: Sequence[int] | Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, device=lm.device)

    return Rows(
        ids,
        mask,
        on_device(subject_last),
        on_device(fact_of),
        on_device(bare),
        on_device(kl_prompt),
        on_device(scored_rows),
        on_device(positions),
        on_device(tokens),
        on_device(weights),
        on_device(in_contexts),
    )
