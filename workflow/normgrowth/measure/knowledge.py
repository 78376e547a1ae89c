"""Knowledge of facts: does the model say the true object by itself?"""

from collections.abc import Sequence

import torch

from normgrowth.facts.records import Fact
from normgrowth.lm.continuations import continuations
from normgrowth.lm.model import LanguageModel

FACTS_PER_PASS = 32


@torch.no_grad()
def says_true_object(lm: LanguageModel, facts: Sequence[Fact]) -> list[bool]:
    """For each fact, whether greedy decoding of its prompt gives all tokens of the true object.

    Raises:
        FactError: when an object has no tokens of its own.
        ModelError: when a prompt with its object is longer than the model's context.
    """
    said: list[bool] = []
    for start in range(0, len(facts), FACTS_PER_PASS):
        part = facts[start : start + FACTS_PER_PASS]
        batch = continuations(lm, [(fact.question, fact.target_true) for fact in part])
        # Teacher forced: where every token is the most probable one after those before, greedy decoding gives them.
        right = (batch.predictions(lm).argmax(dim=-1) == batch.token).float()
        said += (batch.mean(right) == 1).tolist()
    return said
