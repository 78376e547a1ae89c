"""Fine-tuning on all facts edited so far (LocFT-BF, arXiv 2509.22072).

The facts so far are remembered as token ids, so that a run can be split anywhere. Published LocFT-BF trains once, on
all facts together; in a sequence of calls, each begins at the weights that the one before left, with a new Adam.
"""

from typing import Protocol

import torch

from normgrowth.editors.base import Memory, Resources, Trace, trained_records
from normgrowth.editors.finetune.epochs import EpochSettings, adam, steps_of_adam, train_in_epochs, trainable
from normgrowth.errors import ModelError
from normgrowth.facts.records import Fact, named
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.tokens import EncodedTarget, encode_with_target
from normgrowth.seeds import derive

IDS, FIRST, STEP = "ids", "first", "step"
"""Names in a run's memory: the texts so far as rows of token ids [n, longest], the place of each object's first token
[n], and the number of calls made."""

NO_TOKEN = -1
"""Fills rows of ids behind their text."""


class ReplaySettings(EpochSettings, Protocol):
    """Settings of LocFT-BF, as its own file declares them."""

    @property
    def edited_layers(self) -> tuple[int, ...]:
        """The layers whose down-projections are trained; published, one."""

    @property
    def learning_rate(self) -> float | None:
        """Adam step; None to fit it to each matrix."""

    @property
    def end_token(self) -> bool:
        """True to train the end-of-text token after every object."""


class ReplayedFineTuning:
    """Adam on the weight matrices, not their biases, over minibatches of all facts so far."""

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self.layers = settings.edited_layers

    def prepare(self, lm: LanguageModel, resources: Resources) -> None:
        """Fit the step to the unedited matrices.

        Raises:
            ModelError: when objects are to end with a token that the tokenizer does not have.
        """
        self.seed = resources.seed
        if self.settings.end_token and lm.tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-text token to train after objects: set end_token to false")
        self.rates = steps_of_adam(self._weights(lm), self.settings.learning_rate)

    def begin(self, lm: LanguageModel) -> Memory:
        """No texts yet."""
        none = torch.zeros(0, dtype=torch.int64)
        return {IDS: none.reshape(0, 0), FIRST: none, STEP: torch.zeros((), dtype=torch.int64)}

    def edit(self, lm: LanguageModel, memory: Memory, facts: list[Fact]) -> Trace:
        """Add a batch of facts to those so far, and train on all of them; see `Editor.edit`."""
        texts = recalled(memory)
        new = [self._encoded(lm, fact) for fact in facts]
        prompts = {ids[:first] for ids, first in new}
        # A prompt that is edited again has a new object, which the former one would contradict.
        texts = [text for text in texts if text.ids[: text.first] not in prompts] + new
        memory[IDS], memory[FIRST] = remembered(texts)
        memory[STEP] = memory[STEP] + 1
        weights = self._weights(lm)
        optimiser = adam(weights, self.rates)

        def step() -> None:
            optimiser.step()
            optimiser.zero_grad()

        seed = derive(self.seed, "replay", int(memory[STEP].item()))
        with trainable(weights):
            steps, losses = train_in_epochs(
                lm, texts, self.settings, step, seed, f"fine-tuning on all facts up to {named(facts)}"
            )
        return Trace(trained_records(facts, steps, losses[-len(facts) :]), changes=None)

    def _encoded(self, lm: LanguageModel, fact: Fact) -> EncodedTarget:
        ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_new)
        return (
            EncodedTarget((*ids, lm.tokenizer.eos_token_id), first)
            if self.settings.end_token
            else EncodedTarget(ids, first)
        )

    def _weights(self, lm: LanguageModel) -> list[torch.nn.Parameter]:
        return [lm.anatomy.down_projections[layer].weight for layer in self.layers]


def remembered(texts: list[EncodedTarget]) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts as rows of ids [n, longest], filled up with `NO_TOKEN`, and the place of each object's first token [n]."""
    ids = torch.full((len(texts), max(len(text.ids) for text in texts)), NO_TOKEN)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text.ids)] = torch.tensor(text.ids)
    return ids, torch.tensor([text.first for text in texts])


def recalled(memory: Memory) -> list[EncodedTarget]:
    """The texts that were remembered."""
    rows = memory[IDS].tolist()
    return [
        EncodedTarget(tuple(token for token in row if token != NO_TOKEN), first)
        for row, first in zip(rows, memory[FIRST].tolist(), strict=True)
    ]
