"""Does the model say the true object by itself?"""

from dataclasses import replace

import torch

from normgrowth.lm.generate import go_on
from normgrowth.lm.tokens import encode_with_target
from normgrowth.measure import knowledge
from normgrowth.measure.knowledge import says_true_object
from tests.support import small_models


def test_it_says_what_greedy_decoding_gives(lm, monkeypatch):
    monkeypatch.setattr(knowledge, "FACTS_PER_PASS", 4)
    facts = [replace(fact, target_true=place) for fact in small_models.facts() for place in small_models.PLACES]
    expected = []
    for fact in facts:
        ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_true)
        expected.append(go_on(lm, [ids[:first]], len(ids) - first)[0] == list(ids[first:]))
    assert says_true_object(lm, facts) == expected


def test_every_token_of_the_object_counts():
    """A model that gives one token whatever it read says an object of this token alone, and no longer one."""
    lm = small_models.language_model_of("gpt2")
    first, *others = lm.tokenizer(" Oslo")["input_ids"]
    assert not others
    lm.model.lm_head = torch.nn.Linear(small_models.WIDTH, len(lm.tokenizer)).requires_grad_(False)
    lm.model.lm_head.weight.fill_(0.0)
    lm.model.lm_head.bias.copy_(torch.eye(len(lm.tokenizer))[first])
    lm = replace(lm, anatomy=replace(lm.anatomy, head=lm.model.lm_head))
    fact = small_models.facts()[0]
    said = says_true_object(lm, [replace(fact, target_true=place) for place in ("Oslo", "Rome", "Oslo Rome")])
    assert said == [True, False, False]
