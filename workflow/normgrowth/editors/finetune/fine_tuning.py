"""Fine-tuning as an editor: Adam on the down-projections alone until the new object is probable.

Where a down-projection has a bias, it is trained too: published code trains every parameter whose name contains the
module's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import log_softmax

from normgrowth.editors.base import Memory, Resources, Trace, trained_records
from normgrowth.errors import EditError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import encode_with_target

RADIUS = 80.0
"""Radius of FT-L where settings give none, in root mean square weights of the edited matrix over its input width.

The wider the input, the more a change of every weight by the radius can do: docs/editors.md has the measurements.
"""


class DescentSettings(Protocol):
    """Settings that end gradient descent on a batch of facts."""

    @property
    def steps(self) -> int:
        """Most steps."""

    @property
    def stop_loss(self) -> float:
        """Mean loss below which no further step is taken."""


class FineTuningSettings(DescentSettings, Protocol):
    """Settings of FT and its relatives, as their own files declare them."""

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """Layers whose down-projections are trained."""

    @property
    def learning_rate(self) -> float:
        """Adam step."""

    @property
    def weight_decay(self) -> float:
        """Adam's L2 penalty."""


@dataclass(frozen=True)
class Ball:
    """An L-infinity ball that weights and biases may not leave."""

    radius: float | None  # None: it follows the matrix
    recentre: bool  # around the weights before each call, instead of those before the run

    def radius_around(self, matrix: torch.Tensor) -> float:
        """The radius for an unedited matrix [out, in], and for the bias beside it."""
        return self.radius or RADIUS * matrix.float().square().mean().sqrt().item() / matrix.shape[1]


class FineTuning:
    """The FT baseline of ROME and MEMIT (arXiv 2210.07229, appendix B), with a ball FT-L.

    Every token of the new object is pushed up at the one position after the prompt, without teacher forcing: a
    property of the published baseline that its results depend on.
    """

    def __init__(self, settings: FineTuningSettings, ball: Ball | None = None) -> None:
        self.settings = settings
        self.layers = settings.edited_layers
        self.ball = ball

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Find the ball's radius, and keep the unedited weights where it is drawn around them."""
        if self.ball:
            projections = [lm.anatomy.down_projections[layer] for layer in self.layers]
            self.radii = [self.ball.radius_around(p.matrix) for p in projections for _ in p.parameters]
            self.centres = [weight.detach().clone() for weight in self._weights(lm)]

    def begin(self, lm: LanguageModel) -> Memory:
        """No memory: each call starts a new optimiser."""
        return {}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Train on a batch of facts; see `Editor.edit`."""
        encoded = [encode_with_target(lm.tokenizer, fact.question, fact.target_new) for fact in facts]
        ids, mask = lm.pad([ids[:target_at] for ids, target_at in encoded])
        last = mask.sum(dim=1) - 1
        every_row = torch.arange(len(facts), device=lm.device)
        wanted = self._wanted(lm, [ids[target_at:] for ids, target_at in encoded])  # [n, vocabulary]
        weights = self._weights(lm)
        if self.ball and self.ball.recentre:
            self.centres = [weight.detach().clone() for weight in weights]
        optimiser = torch.optim.Adam(weights, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)

        def losses() -> torch.Tensor:
            hidden = lm.hidden(ids, mask)[every_row, last]
            return -(log_softmax(lm.logits(hidden).float(), dim=-1) * wanted).sum(dim=1)

        try:
            for weight in weights:
                weight.requires_grad_(True)
            steps, ended = descend(
                optimiser,
                losses,
                self.settings,
                f"fine-tuning on {named(facts)}",
                lambda: self._stay_in_ball(weights),
            )
        finally:
            for weight in weights:
                weight.requires_grad_(False)
                weight.grad = None
        return Trace(trained_records(facts, steps, ended), changes=None)

    def _weights(self, lm: LanguageModel) -> list[torch.nn.Parameter]:
        """The parameters that are trained."""
        return [
            parameter for layer in self.layers for parameter in lm.anatomy.down_projections[layer].parameters.values()
        ]

    @torch.no_grad()
    def _stay_in_ball(self, weights: list[torch.nn.Parameter]) -> None:
        if self.ball:
            for weight, centre, radius in zip(weights, self.centres, self.radii, strict=True):
                weight.copy_(weight.clamp(centre - radius, centre + radius))

    def _wanted(self, lm: LanguageModel, objects: list[tuple[int, ...]]) -> torch.Tensor:
        """Weights [n, vocabulary] that spread one over the tokens of each new object."""
        head = lm.anatomy.head.weight
        assert isinstance(head, torch.Tensor)
        wanted = torch.zeros(len(objects), head.shape[0], device=lm.device)
        for row, tokens in enumerate(objects):
            for token in tokens:
                wanted[row, token] += 1 / len(tokens)
        return wanted


def descend(
    optimiser: torch.optim.Optimizer,
    losses_now: Callable[[], torch.Tensor],
    settings: DescentSettings,
    what: str,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[int, list[float]]:
    """Gradient descent until the mean loss is below `stop_loss` or `steps` are taken.

    Args:
        losses_now: the facts' losses [n] under the current weights.
        what: words on the training and its facts, for an error.
        after_step: projects the weights back onto their constraint.

    Returns:
        The steps taken, and each fact's loss after them.

    Raises:
        EditError: when the loss is not finite; the message names the edit.
    """
    steps = 0
    while True:
        losses = losses_now()
        loss = losses.mean()
        if not torch.isfinite(loss):
            raise EditError(f"{what} gave a loss of {loss.item()} at step {steps}")
        if loss.item() < settings.stop_loss or steps == settings.steps:
            return steps, losses.tolist()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        after_step()
        steps += 1
