"""A checkpoint as measures see it."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import torch

from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.facts.streams import first_edits, latest_edits
from normgrowth.lm.anatomy import Projection
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.material import Material

Result = TypeVar("Result")


class Unedited(NamedTuple):
    """Tables of the unedited model in the same edit order, measured on the same material."""

    scores: pd.DataFrame
    downstream: pd.DataFrame


@dataclass(frozen=True)
class Point:
    """A model after some of a run's edits, and the material that it is measured on.

    Every measure is a module with a function `measure(point)`, which returns its tables by name, with all columns of
    `io.columns` but the identity columns. It leaves the weights as they are.
    """

    lm: LanguageModel  # with the weights of the checkpoint
    material: Material
    step: int  # edits applied; 0 is the unedited model
    edited: Sequence[Projection]  # matrices that the edits have changed; none of the unedited model
    undone: Callable[[], AbstractContextManager[None]]
    """Restores the unedited model inside a `with` block."""
    is_checkpoint: bool = True
    """False at a step of `measure.curve`, where nothing is generated and untouched facts are not scored."""
    unedited: Unedited | None = None
    """What was measured of the unedited model already; None where it has to be measured again."""
    known: dict[Hashable, Any] = field(default_factory=dict)
    """Results that several measures need, of the checkpoint and of the steps before it: see `once`."""

    def once(self, key: Hashable, function: Callable[[], Result]) -> Result:
        """The result of a function that was called under this key first, here or at another step of the checkpoint.

        What depends on the weights has the step in its key.
        """
        if key not in self.known:
            self.known[key] = function()
        return self.known[key]

    @property
    def facts(self) -> list[Fact]:
        """The edited facts that are scored, each as its latest edit; of the unedited model, the first to be edited."""
        material = self.material
        if self.step:
            edited = latest_edits(material.order[: self.step])
            return subset(edited, material.measure.retention_facts, material.seed, "retention")
        return first_edits(material.order)[: material.measure.baseline_facts]

    @property
    def generated(self) -> list[Fact]:
        """The scored facts about which the model also writes freely."""
        if not self.is_checkpoint:
            return []
        return subset(self.facts, self.material.measure.generation_facts, self.material.seed, "generation")

    @property
    def text(self) -> torch.Tensor:
        """Windows of held-out text [count, length] for perplexity."""
        return self.once("text", lambda: self.material.heldout_windows(self.lm))

    @property
    def untouched(self) -> list[Fact]:
        """Facts that no edit up to this step is about."""
        return self.material.untouched(self.step)
