"""Norms by depth against the model's own hidden states."""

from dataclasses import replace

import pytest
import torch

from normgrowth.measure import depth
from normgrowth.measure.depth import norms_by_depth
from tests.support import small_models


@pytest.mark.parametrize("at_once", [1, 8])
def test_norms_are_those_of_the_models_hidden_states(lm, monkeypatch, at_once):
    monkeypatch.setattr(depth, "PROMPTS_PER_PASS", at_once)
    facts = small_models.facts()
    found = norms_by_depth(lm, facts)
    tokens, at_subject = [], []
    for fact in facts:
        encoding = lm.tokenizer(fact.question, return_offsets_mapping=True)
        end = fact.question.index(fact.subject) + len(fact.subject)
        last = max(i for i, (begin, _) in enumerate(encoding["offset_mapping"]) if begin < end)
        hidden = lm.model(torch.tensor([encoding["input_ids"]]), output_hidden_states=True).hidden_states
        norms = torch.stack([state[0].norm(dim=-1) for state in hidden[1:-1]])  # the last one has the final norm
        tokens.append(norms[:, 1:])
        at_subject.append(norms[:, last])
    assert found.residual[:-1] == pytest.approx(torch.cat(tokens, dim=1).mean(dim=1).tolist(), rel=1e-5)
    assert found.residual_at_subject[:-1] == pytest.approx(torch.stack(at_subject).mean(dim=0).tolist(), rel=1e-5)


def test_an_mlp_that_writes_nothing_has_no_share(lm):
    module = lm.anatomy.down_projections[2].module
    for parameter in module.parameters():
        parameter.fill_(0.0)
    shares = norms_by_depth(lm, small_models.facts()).mlp_share
    assert shares[2] == 0 and all(share > 0.05 for share in (*shares[:2], shares[3]))


def test_what_a_norm_behind_the_mlp_gives_is_what_it_writes(lm):
    class Doubling:
        """A stand-in for a norm, of which only what it writes is asked."""

        def written(self, values):
            return 2 * values

    plain = norms_by_depth(lm, small_models.facts())
    doubled = norms_by_depth(replace(lm, post_norms=(None, Doubling(), None, None)), small_models.facts())
    assert doubled.mlp_share[1] == pytest.approx(2 * plain.mlp_share[1])
    assert doubled.mlp_share[0] == plain.mlp_share[0] and doubled.residual == plain.residual
