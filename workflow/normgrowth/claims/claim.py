"""What a claim is: what is said, what is measured for it, and the rule that decides."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from normgrowth.claims.verdict import UP, Evidence, Rule, Verdict
from normgrowth.editors.families import family_of

Measured = Callable[[Evidence, Rule], Verdict | list[Verdict]]


@dataclass(frozen=True)
class Claim:
    """One claim, and how it is decided.

    `measure` takes the evidence on one model and editor, and gives one verdict or one for each place. `special` says in
    words what the rule does beside comparing the effect with its margins.
    """

    id: str
    title: str
    text: str
    source: str
    measured: str
    effect: str  # what is compared with the margins, and how it is shown in the overall line
    rule: Rule
    measure: Measured
    special: str = ""
    family: str | None = None  # judged on editors of this family only
    arms: tuple[str, ...] = ()  # judged on editors that have one of these control arms only
    of_models: bool = False  # judged on all editors of a model together
    of_orders: bool = True  # its units are edit orders or training runs where there are several
    intervention: str | None = None  # judged on interventions of this kind, whose norms stand for an editor's
    needs: str = "rows for this claim in the study's tables"

    def concerns(self, evidence: Evidence) -> bool:
        """True where the claim is judged on this editor."""
        of_family = self.family is None or family_of(evidence.editor) == self.family
        return of_family and (not self.arms or any(arm in evidence.arms for arm in self.arms))

    @property
    def decided(self) -> str:
        """The rule in words."""
        return f"{rule_in_words(self.rule)} {self.special}".strip()


def rule_in_words(rule: Rule) -> str:
    """What an effect's 95% interval is compared with, in a sentence."""
    beyond, short = ("above", "below") if rule.direction == UP else ("below", "above")
    low, high = rule.negligible
    said = [f"Supported when the 95% interval of the effect lies {beyond} {_number(rule.margin)}"]
    if rule.other is not None:
        said.append(f"opposite when it lies {short} {_number(rule.other)}")
    if np.isinf(low) or np.isinf(high):
        said.append(f"negligible when it lies {short} that")
    else:
        neither = "neither holds and it" if rule.zone and rule.other is not None else "it"
        said.append(f"negligible when {neither} lies between {_number(low)} and {_number(high)}")
    return f"{', '.join(said)}; undecided otherwise. An exact number is its own interval."


def _number(value: float) -> str:
    return f"{value:.3g}"
