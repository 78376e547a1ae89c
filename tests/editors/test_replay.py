"""Fine-tuning on all facts so far (LocFT-BF) against a plain loop of torch's Adam, its memory, and what is refused."""

from dataclasses import replace

import pytest
import torch

from normgrowth.editors.base import Resources
from normgrowth.editors.finetune.replay import recalled, remembered
from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError, ModelError
from normgrowth.lm.tokens import EncodedTarget
from tests.support import small_models


def editor_of(lm, **given):
    module = declaration("locft")
    editor = module.build(module.Settings(**{"layers": [1], "batch": 2, "stop_loss": 0.0, **given}))
    editor.prepare(lm, Resources({}, seed=3))
    return editor


def loss_of(lm, fact, end):
    """Mean cross-entropy of the object's tokens, and of the end's, by plain calls of the model."""
    prompt = lm.tokenizer(fact.question)["input_ids"]
    whole = [*lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"], *end]
    logits = lm.model(input_ids=torch.tensor([whole])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(whole[len(prompt) :]))


@pytest.mark.parametrize("end_token", [True, False])
def test_every_call_is_a_new_adam_over_all_facts_so_far(lm, end_token):
    """Two calls, every epoch one minibatch, against a loop written anew."""
    facts = small_models.facts()[:4]
    editor = editor_of(lm, epochs=3, minibatch=10, learning_rate=2e-3, end_token=end_token)
    memory, before = editor.begin(lm), {n: p.clone() for n, p in lm.model.named_parameters()}
    for batch in (facts[:2], facts[2:]):
        trace = editor.edit(lm, memory, batch)
        assert [record.search_steps for record in trace.records] == [3, 3] and trace.changes is None
    after = {n: p.clone() for n, p in lm.model.named_parameters()}
    name = lm.anatomy.down_projections[1].name
    assert {n for n in after if not torch.equal(after[n], before[n])} == {name}
    for n, parameter in lm.model.named_parameters():
        parameter.copy_(before[n])
    weight, end = lm.model.get_parameter(name), [lm.tokenizer.eos_token_id] if end_token else []
    weight.requires_grad_(True)
    for known in (facts[:2], facts):
        adam = torch.optim.Adam([weight], lr=2e-3)
        for _ in range(3):
            losses = torch.stack([loss_of(lm, fact, end) for fact in known])
            adam.zero_grad()
            losses.mean().backward()
            adam.step()
    weight.requires_grad_(False)
    assert torch.allclose(after[name], weight, atol=2e-5)
    found = [record.search_loss for record in trace.records]
    assert found == pytest.approx(losses[2:].tolist(), abs=1e-3)


def test_an_epoch_takes_a_step_per_minibatch_that_has_something_to_learn(lm):
    facts = small_models.facts()
    editor = editor_of(lm, epochs=2, minibatch=2, learning_rate=1e-3, batch=5)
    memory = editor.begin(lm)
    assert {r.search_steps for r in editor.edit(lm, memory, facts[:5]).records} == {6}
    learnt = editor_of(lm, epochs=2, minibatch=2, stop_loss=1e3)
    before = lm.anatomy.down_projections[1].matrix.clone()
    assert {r.search_steps for r in learnt.edit(lm, learnt.begin(lm), facts[:2]).records} == {0}
    assert torch.equal(lm.anatomy.down_projections[1].matrix, before)


def test_earlier_facts_are_kept_in_mind():
    """After the last of four calls the first fact is as likely as after its own; without replay it is forgotten."""

    def last_loss(count, replayed):
        lm = small_models.language_model_of("gpt2")
        editor = editor_of(lm, epochs=40, minibatch=2, learning_rate=5e-3, end_token=False)
        memory = editor.begin(lm)
        for fact in small_models.facts()[:count]:
            editor.edit(lm, memory if replayed else editor.begin(lm), [fact])
        return loss_of(lm, small_models.facts()[0], []).item()

    assert last_loss(4, replayed=True) == pytest.approx(last_loss(1, replayed=True), abs=0.5)
    assert last_loss(4, replayed=False) > last_loss(4, replayed=True) + 2


def test_texts_of_unequal_length_come_back_from_memory():
    texts = [EncodedTarget((5, 0, 7), 2), EncodedTarget((1, 2, 3, 4, 0), 3), EncodedTarget((9,), 0)]
    ids, first = remembered(texts)
    assert ids.shape == (3, 5) and recalled({"ids": ids, "first": first}) == texts


def test_a_fact_edited_again_replaces_what_was_to_be_said(lm):
    fact, other = small_models.facts()[:2]
    editor = editor_of(lm, epochs=1)
    memory = editor.begin(lm)
    for now in (fact, other, replace(fact, target_new="Rome")):
        editor.edit(lm, memory, [now])
    said = [lm.tokenizer.decode(ids[first:-1]).strip() for ids, first in recalled(memory)]
    assert said == [other.target_new, "Rome"]


def test_the_step_left_out_follows_the_unedited_weights(lm):
    weight = lm.anatomy.down_projections[1].matrix
    editor = editor_of(lm)
    assert editor.rates == pytest.approx([0.05 * weight.square().mean().sqrt().item()])
    assert editor_of(lm, learning_rate=0.1).rates == [0.1]


def test_what_cannot_be_is_refused(lm, monkeypatch):
    monkeypatch.setattr(type(lm.tokenizer), "eos_token_id", None, raising=False)
    with pytest.raises(ModelError, match="no end-of-text token to train after objects: set end_token to false"):
        editor_of(lm)
    editor = editor_of(lm, end_token=False)
    lm.anatomy.down_projections[2].weight.fill_(float("inf"))
    with pytest.raises(EditError, match="fine-tuning on all facts up to case 10 gave a loss of nan at step 0"):
        editor.edit(lm, editor.begin(lm), small_models.facts()[:1])
    assert not lm.anatomy.down_projections[1].weight.requires_grad


def test_the_default_layer_lies_seven_tenths_up():
    by_depth = declaration("locft").Settings.layers_by_depth
    assert by_depth(32) == (22,) and by_depth(4) == (2,) and by_depth(1) == (0,)
