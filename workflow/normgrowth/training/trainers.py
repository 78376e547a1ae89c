"""Further training of a whole model, with the norm of every matrix along the way: nothing but the plain loop.

Source: the interventions of arXiv 2502.19416 on Llama-2-7B, which uses published checkpoints (of arXiv 2405.09673).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from normgrowth.errors import EditError
from normgrowth.lm.continuations import Continuations, lay_out
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode_with_target
from normgrowth.seeds import derive
from normgrowth.training.norms import Adapted, MatrixNorms, of_adapters, of_weights
from normgrowth.training.training_settings import (
    CONTINUED_PRETRAINING,
    FULL_FINE_TUNING,
    LORA_FINE_TUNING,
    InterventionTraining,
)

LARGEST_GRADIENT = 1.0
BETAS = (0.9, 0.95)

Loss = Callable[[], torch.Tensor]
"""Function that returns the loss of one step, a scalar tensor, under the current weights."""

Progress = Callable[[int, str], None]
"""Callback with the number of steps made and a note."""

Pairs = Sequence[tuple[str, str]]
"""Prompts and their answers."""


class Told(NamedTuple):
    """Kind of intervention, for messages, and its progress callback."""

    kind: str
    progress: Progress


def continued_pretraining(
    lm: LanguageModel, windows: torch.Tensor, settings: InterventionTraining, progress: Progress
) -> pd.DataFrame:
    """Training of all weights to predict every next token of windows [steps * batch, length] of text.

    Returns:
        Table `interventions` without the names of the run: `step, matrix, layer, frobenius, frobenius_ratio,
        drift_frobenius`.

    Raises:
        EditError: when a loss is not finite.
    """
    losses = (_text_loss(lm, ids.to(lm.device)) for ids in windows.split(settings.batch))
    lm.model.requires_grad_(True)
    return _train(lm, of_weights(lm.model), losses, settings, Told(CONTINUED_PRETRAINING, progress))


def full_fine_tuning(
    lm: LanguageModel,
    pairs: Pairs,
    settings: InterventionTraining,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Training of all weights to answer prompts: next-token loss on the answers alone.

    Returns and raises as `continued_pretraining`.
    """
    lm.model.requires_grad_(True)
    losses = _answer_losses(lm, pairs, settings, seed)
    return _train(lm, of_weights(lm.model), losses, settings, Told(FULL_FINE_TUNING, progress))


def lora_fine_tuning(
    lm: LanguageModel,
    pairs: Pairs,
    settings: InterventionTraining,
    seed: int,
    progress: Progress,
) -> pd.DataFrame:
    """Training as by `full_fine_tuning`, through adapters on every linear map but the head.

    Norms are those of the merged matrices.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number scales as well
        target_modules="all-linear",
        fan_in_fan_out=lm.anatomy.down_projections[0].is_transposed,
    )
    with torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers under an old name
        torch.manual_seed(derive(seed, LORA_FINE_TUNING))
        wrapped = get_peft_model(lm.model, config)
    adapted = {}
    for name, module in wrapped.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            weight = module.base_layer.weight.detach()
            weight = weight.T if module.fan_in_fan_out else weight
            (adapter,) = module.lora_A
            factors = module.lora_A[adapter].weight, module.lora_B[adapter].weight
            adapted[f"{name}.weight"] = Adapted(weight, *factors, module.scaling[adapter])
    return _train(
        lm, of_adapters(adapted), _answer_losses(lm, pairs, settings, seed), settings, Told(LORA_FINE_TUNING, progress)
    )


def _train(
    lm: LanguageModel,
    norms: MatrixNorms,
    losses: Iterator[Loss],
    settings: InterventionTraining,
    told: Told,
) -> pd.DataFrame:
    """The training loop: AdamW until `losses` end. Rows as `continued_pretraining` returns."""
    trained = [p for p in lm.model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate, betas=BETAS)
    rows = norms.rows(0)
    for step, loss_of in enumerate(losses, start=1):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, step / max(1, settings.warmup_steps))
        loss = loss_of()
        if not torch.isfinite(loss):
            raise EditError(f"{told.kind} diverged: its loss is {loss.item()} at step {step}; lower learning_rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % settings.norms_every == 0 or step == settings.steps:
            rows += norms.rows(step)
        told.progress(1, f"loss {loss.item():.3f}")
    return pd.DataFrame(rows)


def _text_loss(lm: LanguageModel, ids: torch.Tensor) -> Loss:
    def loss() -> torch.Tensor:
        logits = lm.logits(lm.hidden(ids, torch.ones_like(ids))[:, :-1]).float()
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    return loss


def _answer_loss(lm: LanguageModel, batch: Continuations) -> Loss:
    return lambda: batch.losses(batch.predictions(lm)).mean()


def _answer_losses(lm: LanguageModel, pairs: Pairs, settings: InterventionTraining, seed: int) -> Iterator[Loss]:
    """One loss per step; pairs are shuffled anew each time all have been seen."""
    draw = torch.Generator().manual_seed(derive(seed, "pairs"))
    encoded = [encode_with_target(lm.tokenizer, prompt, answer) for prompt, answer in pairs]
    waiting: list[int] = []
    for _ in range(settings.steps):
        while len(waiting) < settings.batch:
            waiting += torch.randperm(len(encoded), generator=draw).tolist()
        chosen, waiting = waiting[: settings.batch], waiting[settings.batch :]
        yield _answer_loss(lm, lay_out(lm, [encoded[i] for i in chosen]))
