"""Claims, and the evidence that each is judged on.

A claim about editing is judged on the tables of one model and editor, a claim about training on the norms of one
intervention, the further training of a whole model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from normgrowth import seeds
from normgrowth.claims.verdict import Rule, Verdict
from normgrowth.editors.families import family_of

ALL = "all editors"
"""Editor's name in evidence on all editors of a model together."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Norms of one model under one editor or one kind of training.

    `norms` has the rows of table `norms`, or those of table `interventions`, whose `order` numbers training runs.
    """

    model: str
    editor: str
    norms: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class EditingEvidence(Evidence):
    """Rows of one model and editor (`ALL` for all its editors) in the tables that the fields name.

    `seed` is the seed of every resampling, `arms` the evidence on the editor's control arms by kind.
    """

    activations: pd.DataFrame
    subspaces: pd.DataFrame
    scores: pd.DataFrame
    downstream: pd.DataFrame
    norm_direction: pd.DataFrame
    seed: int
    arms: "dict[str, EditingEvidence]" = field(default_factory=dict)

    def rng(self, *purpose: str) -> np.random.Generator:
        """Generator of the resampling for one purpose; every call returns the same stream."""
        return np.random.default_rng(seeds.derive(self.seed, "claims", self.model, self.editor, *purpose))


EditingMeasure = Callable[[EditingEvidence, Rule], Verdict | list[Verdict]]
"""Verdict on one model and editor, or one verdict for each place where the claim is judged."""

TrainingMeasure = Callable[[Evidence, Rule], Verdict]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Text and rule of a claim.

    `effect` names the quantity that the rule compares with its margins, `special` further conditions of the rule, and
    `needs` the data that a study without a verdict on the claim lacks.
    """

    id: str
    title: str
    text: str
    source: str
    measured: str
    effect: str
    rule: Rule
    special: str = ""
    of_orders: bool = True
    """True where the units are edit orders or training runs, if there are several."""
    needs: str = "rows for this claim in the study's tables"

    @property
    def decided(self) -> str:
        """The rule in words."""
        return f"{self.rule.in_words} {self.special}".strip()


@dataclass(frozen=True, kw_only=True)
class EditingClaim(Claim):
    """A claim about editing.

    It is judged on each editor of `family` (None: any) that has one of the control arms `arms` (empty: none needed),
    or, with `of_models`, on all editors of a model together.
    """

    measure: EditingMeasure
    family: str | None = None
    arms: tuple[str, ...] = ()
    of_models: bool = False

    def concerns(self, evidence: EditingEvidence) -> bool:
        """True where the claim is judged on this editor."""
        of_family = self.family is None or family_of(evidence.editor) == self.family
        return of_family and (not self.arms or any(arm in evidence.arms for arm in self.arms))


@dataclass(frozen=True, kw_only=True)
class TrainingClaim(Claim):
    """A claim about further training of a whole model, judged on interventions of one kind."""

    measure: TrainingMeasure
    intervention: str
