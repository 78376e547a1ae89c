"""The first three editors on small models: post-conditions, locality of the change, exact undoing."""

import pytest
import torch

from normgrowth.capture import reading
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.errors import EditError, ModelError
from normgrowth.measure.scores import score_facts
from normgrowth.prompts import encode, fill, last_token_of
from tests import small_models

SETTINGS = {
    "ft": {"layers": (1,), "learning_rate": 5e-3},
    "r_rome": {"layers": (1,), "steps": 8},
    "memit": {"layers": (0, 1), "steps": 8, "batch": 3, "preservation_weight": 1.0},
}


def make(kind, lm):
    settings = declaration(kind).Settings(**SETTINGS[kind])
    editor = declaration(kind).build(settings)
    return editor, editor.prepare(lm, small_models.resources(lm))


def weights(lm):
    return {name: parameter.clone() for name, parameter in lm.model.named_parameters()}


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_only_the_edited_matrices_change_and_undoing_is_exact(lm, kind):
    editor, memory = make(kind, lm)
    before = weights(lm)
    facts = small_models.facts()[: declaration(kind).Settings(**SETTINGS[kind]).batch]
    trace = editor.edit(lm, memory, facts)
    edited = {lm.anatomy.down_projections[layer].name for layer in editor.layers}
    changed = {name for name, weight in weights(lm).items() if not torch.equal(weight, before[name])}
    assert changed == edited
    assert [record.case_id for record in trace.records] == [fact.case_id for fact in facts]
    for name, parameter in lm.model.named_parameters():
        parameter.copy_(before[name])
        assert not parameter.requires_grad
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_an_edit_makes_the_new_object_more_probable(lm, kind):
    editor, memory = make(kind, lm)
    fact = small_models.facts()[0]
    before = score_facts(lm, [fact])["em"][0]
    editor.edit(lm, memory, [fact])
    assert score_facts(lm, [fact])["em"][0] > before


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_the_same_edit_gives_the_same_bits(kind):
    results = []
    for _ in range(2):
        lm = small_models.language_model_of("gpt2")
        editor, memory = make(kind, lm)
        editor.edit(lm, memory, small_models.facts()[:1])
        results.append(weights(lm))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_r_rome_sends_the_mean_key_to_the_target(lm):
    """(W + Δ) k = W k + (v* - y), with k and y means over contexts: the value at the mean key becomes v*."""
    editor, memory = make("r_rome", lm)
    fact = small_models.facts()[2]
    keys, values = editor._keys_and_values(lm, [fact], 1, (1, "mlp_output"))
    projection = lm.anatomy.down_projections[1]
    bias = getattr(projection.module, "bias", None)
    bias = 0 if bias is None else bias
    assert torch.allclose(projection.matrix @ keys[0] + bias, values[0], atol=1e-4)
    trace = editor.edit(lm, memory, [fact])
    target_norm = (projection.matrix @ keys[0] + bias).norm().item()
    assert target_norm == pytest.approx(trace.records[0].target_norm, rel=1e-4)


def test_keys_are_the_weighted_means_of_single_passes(lm):
    editor, _ = make("memit", lm)
    fact = small_models.facts()[1]
    keys, values = editor._keys_and_values(lm, [fact, small_models.facts()[0]], 1, (1, "residual"))
    single_keys, single_values = [], []
    for template in small_models.CONTEXTS["grouped"]:
        text, span = fill(template, fact.question, fact.subject_span)
        encoded = encode(lm.tokenizer, text)
        with reading(lm.anatomy, [(1, "mlp_key"), (1, "residual")]) as seen:
            lm.model(input_ids=torch.tensor([encoded.ids]))
        position = last_token_of(encoded, span)
        single_keys.append(seen[1, "mlp_key"][0, position])
        single_values.append(seen[1, "residual"][0, position])
    expected = 0.5 * single_keys[0] + 0.25 * single_keys[1] + 0.25 * single_keys[2]
    assert torch.allclose(keys[0], expected, atol=1e-5)
    assert torch.allclose(values[0], single_values[0], atol=1e-5)


def test_memit_brings_the_values_nearer_to_their_targets_layer_by_layer(lm):
    editor, memory = make("memit", lm)
    facts = small_models.facts()[:3]
    trace = editor.edit(lm, memory, facts)
    assert sorted(trace.changes) == [0, 1]
    _, values = editor._keys_and_values(lm, facts, 1, (1, "residual"))
    # Targets are not kept; what is left of the way to them must be less than at the start.
    start = torch.tensor([record.residual_norm for record in trace.records])
    offsets = torch.tensor([record.offset_norm for record in trace.records])
    assert torch.allclose(start, offsets, rtol=1e-4)
    assert torch.isfinite(values).all()


def test_too_few_tokens_for_the_second_moment_say_what_to_do(lm):
    editor, memory = make("r_rome", lm)
    moment = editor.moments[1]
    moment.moment = moment.moment * 0
    with pytest.raises(ModelError, match=r"layer 1 is not positive definite: 1536 tokens are too few .* raise second"):
        editor.edit(lm, memory, small_models.facts()[:1])


def test_fine_tuning_names_the_edit_that_fails(lm):
    editor, memory = make("ft", lm)
    lm.anatomy.down_projections[2].weight.fill_(float("inf"))
    with pytest.raises(EditError, match="fine-tuning on case 10 gave a loss of nan at step 0"):
        editor.edit(lm, memory, small_models.facts()[:1])


def test_fine_tuning_is_adam_on_the_last_prompt_token(lm):
    """One step of the editor against one step written out."""
    fact = small_models.facts()[3]
    weight = lm.anatomy.down_projections[1].weight
    before = weight.clone()
    settings = declaration("ft").Settings(layers=(1,), steps=1)
    declaration("ft").build(settings).edit(lm, {}, [fact])
    after = weight.clone()
    weight.copy_(before)
    weight.requires_grad_(True)
    ids = lm.tokenizer(fact.question)["input_ids"]
    predicted = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    whole = lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"]
    loss = -predicted[whole[len(ids) :]].mean()
    (gradient,) = torch.autograd.grad(loss, weight)
    # Adam's first step is the sign of the gradient.
    expected = before - 5e-4 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(after, expected, atol=1e-6)


def test_unknown_editors_are_named():
    with pytest.raises(KeyError, match=r"unknown editor 'mimit'; known are ft, memit, r_rome"):
        declaration("mimit")
