"""Language models with their tokenizer and anatomy, for editing and measuring."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.activations import NewGELUActivation

from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import Anatomy, anatomy_of
from normgrowth.lm.context_length import context_length
from normgrowth.lm.post_norms import PostNorm, looking_behind_mlps, post_norms_of
from normgrowth.lm.rounded import RoundedMatrices
from normgrowth.lm.tokens import pad, pad_id


@dataclass(frozen=True)
class LanguageModel:
    """A frozen model in evaluation mode, its tokenizer, and where its parts are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    post_norms: tuple[PostNorm | None, ...]  # by layer: the norm between MLP and residual stream, where there is one
    precision: torch.dtype = torch.float32
    """Precision of matrix products in forward passes. Weights and their changes are always float32."""

    @property
    def device(self) -> torch.device:
        return self.anatomy.home

    @cached_property
    def context(self) -> int | None:
        """Tokens that the model reads at once; None where its configuration names no bound."""
        return context_length(vars(self.model.config.get_text_config()))

    def require_room(self, tokens: int) -> None:
        """Refuse a text that is longer than the context.

        Raises:
            ModelError: naming both lengths.
        """
        if self.context is not None and tokens > self.context:
            raise ModelError(f"a text of {tokens} tokens does not fit the model's context of {self.context}")

    def pad(self, rows: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Right-padded ids and attention mask, both [rows, tokens].

        Raises:
            ModelError: when a row is longer than the model's context.
        """
        self.require_room(max(map(len, rows)))
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

        Raises:
            ModelError: when a text without `positions` is longer than the model's context.
        """
        if positions is None:
            self.require_room(mask.shape[1])
        places = {} if positions is None else {"position_ids": positions}
        trunk = self.anatomy.trunk
        with self._products(self._rounded_trunk):
            hidden = trunk(
                input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=past is not None, **places
            ).last_hidden_state
        return hidden.to(self.device)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] of final-norm outputs [..., hidden]."""
        with self._products(self._rounded_head):
            logits = self.anatomy.head(hidden).to(self.device)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @cached_property
    def _rounded_trunk(self) -> RoundedMatrices:
        return RoundedMatrices(self.anatomy.trunk, self.precision)

    @cached_property
    def _rounded_head(self) -> RoundedMatrices:
        return RoundedMatrices(self.anatomy.head, self.precision)

    @contextmanager
    def _products(self, matrices: RoundedMatrices) -> Iterator[None]:
        if self.precision == torch.float32:
            yield
            return
        with torch.autocast(self.device.type, self.precision), matrices.in_place():
            yield


def language_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LanguageModel:
    """Freeze a loaded model and find its parts.

    Raises:
        ModelError: when a part is not found, or they do not act as those of a causal language model.
    """
    model.eval().requires_grad_(False)
    _fuse_activations(model)
    anatomy = anatomy_of(model)
    lm = LanguageModel(model, tokenizer, anatomy, post_norms=(None,) * anatomy.n_layers)
    with looking_behind_mlps(anatomy) as behind:
        _check_parts(lm)
    return replace(lm, post_norms=post_norms_of(type(model).__name__, anatomy, behind))


def _fuse_activations(model: PreTrainedModel) -> None:
    """Replace GPT-2's GELU, eight operations in transformers, by torch's single one."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


@torch.no_grad()
def _check_parts(lm: LanguageModel) -> None:
    """Refuse a model that is not causal, or whose logits are not its head's, by a pass over two rows that differ in a
    token.

    Raises:
        ModelError: naming the kind of model.
    """
    kind = type(lm.model).__name__
    ids = torch.tensor([[0, 1], [0, 2]], device=lm.device)
    mask = torch.ones_like(ids)
    hidden = lm.hidden(ids, mask)
    if not _alike(hidden[0, 0], hidden[1, 0]):
        raise ModelError(f"{kind}: a token's hidden state depends on the token after it: no causal attention was found")
    if not _alike(lm.logits(hidden), lm.model(input_ids=ids, attention_mask=mask).logits):
        raise ModelError(f"{kind}: between the final norm and the logits stands a part or a scale that was not found")


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Test for tensors that are equal but for rounding."""
    return torch.allclose(first, second, rtol=1e-3, atol=1e-3 * second.abs().max().item(), equal_nan=True)
