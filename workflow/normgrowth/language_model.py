"""A language model with its tokenizer and anatomy: what editing and measuring work on."""

from dataclasses import dataclass

import torch
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from normgrowth.anatomy import Anatomy, anatomy_of
from normgrowth.errors import ModelError
from normgrowth.prompts import pad, pad_id


@dataclass(frozen=True)
class LanguageModel:
    """A frozen model in evaluation mode, its tokenizer, and where its parts are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy

    @property
    def device(self) -> torch.device:
        return self.anatomy.head.weight.device

    def pad(self, rows: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Right-padded ids and attention mask, both [rows, tokens].

        Raises:
            ModelError: when a row is longer than the model's context.
        """
        limit = getattr(self.model.config, "max_position_embeddings", None)
        longest = max(map(len, rows))
        if limit is not None and longest > limit:
            raise ModelError(f"a text of {longest} tokens does not fit the model's context of {limit}")
        return pad(rows, pad_id(self.tokenizer), self.device)

    def hidden(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor | None = None,
        past: Cache | None = None,
    ) -> torch.Tensor:
        """Final-norm outputs [rows, tokens, hidden] of the trunk.

        Args:
            mask: [rows, tokens], or [rows, past + tokens] after what `past` holds.
            positions: of the tokens [rows, tokens]; counted from the first when left out.
            past: attention keys and values of the tokens before; those of `ids` are added to it.
        """
        places = {} if positions is None else {"position_ids": positions}
        trunk = self.anatomy.trunk
        return trunk(
            input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=past is not None, **places
        ).last_hidden_state

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Vocabulary logits of final-norm outputs, for any leading shape; only these are ever computed."""
        logits = self.anatomy.head(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)


def language_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """Freeze a loaded model and find its parts."""
    model.eval().requires_grad_(False)
    return LanguageModel(model, tokenizer, anatomy_of(model))
