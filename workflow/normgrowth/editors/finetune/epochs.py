"""Fine-tuning in epochs of minibatches: teacher-forced cross-entropy at the objects' tokens."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from normgrowth.errors import EditError
from normgrowth.lm.continuations import lay_out
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import EncodedTarget
from normgrowth.seeds import derive

RELATIVE_STEP = 0.05
"""Default Adam step in root mean square weights of the unedited matrix: the published 5e-4 where these are 0.01."""


class EpochSettings(Protocol):
    """Settings of training in epochs, as editors' own files declare them."""

    @property
    def epochs(self) -> int:
        """Most epochs."""

    @property
    def minibatch(self) -> int:
        """Texts of one step."""

    @property
    def stop_loss(self) -> float:
        """Loss below which a minibatch takes no step, and an epoch's mean ends the training."""


def train_in_epochs(
    lm: LanguageModel,
    texts: Sequence[EncodedTarget],
    settings: EpochSettings,
    step: Callable[[], None],
    seed: int,
    what: str,
) -> tuple[int, list[float]]:
    """Train until an epoch's mean loss is below `stop_loss`, or all epochs are over.

    Args:
        texts: prompts with their objects; each epoch goes over them in a new order, drawn from the seed.
        step: makes one step down the gradients that the backward pass left, and clears them.
        what: words on the training and its facts, for an error.

    Returns:
        The steps taken, and each text's loss in the last epoch, before the step that its minibatch then took.

    Raises:
        EditError: when a loss is not finite; the message names the edit.
    """
    steps = 0
    losses = torch.zeros(len(texts))
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(derive(seed, "epoch", epoch))
        for chosen in torch.randperm(len(texts), generator=generator).split(settings.minibatch):
            batch = lay_out(lm, [texts[number] for number in chosen.tolist()])
            found = batch.losses(batch.predictions(lm))
            loss = found.mean()
            if not torch.isfinite(loss):
                raise EditError(f"{what} gave a loss of {loss.item()} at step {steps}")
            losses[chosen] = found.detach().cpu()
            if loss.item() >= settings.stop_loss:
                loss.backward()
                step()
                steps += 1
        if losses.mean().item() < settings.stop_loss:
            break
    return steps, losses.tolist()


def steps_of_adam(weights: Sequence[torch.nn.Parameter], given: float | None) -> list[float]:
    """The step of Adam for each of some unedited matrices: the given one, or that which fits the matrix."""
    return [given or RELATIVE_STEP * weight.float().square().mean().sqrt().item() for weight in weights]


def adam(weights: Sequence[torch.nn.Parameter], steps: Sequence[float]) -> torch.optim.Adam:
    """Adam with a step for each matrix."""
    return torch.optim.Adam([{"params": [w], "lr": step} for w, step in zip(weights, steps, strict=True)])


@contextmanager
def trainable(weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Let weights take gradients inside the block."""
    try:
        for weight in weights:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None
