"""Gradient descent on a batch of facts until its loss is small: what every editor that fine-tunes does."""

from collections.abc import Callable

import torch

from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named


def descend(
    optimiser: torch.optim.Optimizer,
    losses_now: Callable[[], torch.Tensor],
    settings,
    facts: list[Fact],
    what: str,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[int, list[float]]:
    """Step until the mean loss is below `stop_loss` or `steps` are taken; the steps taken, and each fact's loss then.

    Args:
        losses_now: the facts' losses [n] under the current weights.
        what: says in an error what was trained.
        after_step: brings the weights back to where they may be.

    Raises:
        EditError: when the loss is not finite; the message names the edit.
    """
    steps = 0
    while True:
        losses = losses_now()
        loss = losses.mean()
        if not torch.isfinite(loss):
            raise EditError(f"{what} on {named(facts)} gave a loss of {loss.item()} at step {steps}")
        if loss.item() < settings.stop_loss or steps == settings.steps:
            return steps, losses.tolist()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        after_step()
        steps += 1
