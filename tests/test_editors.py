"""Every editor on small models: post-conditions, locality of the change, exact undoing."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from benchmarks import plain
from normgrowth.capture import reading
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.subject_activations import at_subject, mean_over_contexts
from normgrowth.errors import EditError, ModelError
from normgrowth.measure.single_edits import score_single_edits
from normgrowth.prompts import encode, fill, last_token_of
from tests import small_models
from tests.every_editor import WRITERS, hypernetwork_of, settings_of


def make(kind, lm):
    editor = declaration(kind).build(settings_of(kind))
    editor.prepare(lm, replace(small_models.resources(lm), hypernetwork=hypernetwork_of(kind, lm)))
    return editor, editor.begin(lm)


def weights(lm):
    return {name: parameter.clone() for name, parameter in lm.model.named_parameters()}


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_only_the_edited_matrices_change_and_undoing_is_exact(lm, kind):
    editor, memory = make(kind, lm)
    before = weights(lm)
    facts = small_models.facts()[: settings_of(kind).batch]
    trace = editor.edit(lm, memory, facts)
    edited = {lm.anatomy.down_projections[layer].name for layer in editor.layers}
    changed = {name for name, weight in weights(lm).items() if not torch.equal(weight, before[name])}
    assert changed == edited
    assert [record.case_id for record in trace.records] == [fact.case_id for fact in facts]
    for name, parameter in lm.model.named_parameters():
        parameter.copy_(before[name])
        assert not parameter.requires_grad
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())


@pytest.mark.parametrize("kind", WRITERS)
def test_an_edit_makes_the_new_object_more_probable(lm, kind):
    editor, memory = make(kind, lm)
    fact = small_models.facts()[0]
    before, _ = plain.loss_of(lm, fact.question, fact.target_new)
    editor.edit(lm, memory, [fact])
    assert plain.loss_of(lm, fact.question, fact.target_new)[0] < before


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
    seen = at_subject(lm, [fact], small_models.CONTEXTS["uniform"], [(1, "mlp_key"), (1, "mlp_output")])
    keys, values = (mean_over_contexts(part, grouped=False) for part in seen.values())
    projection = lm.anatomy.down_projections[1]
    bias = getattr(projection.module, "bias", None)
    bias = 0 if bias is None else bias
    assert torch.allclose(projection.matrix @ keys[0] + bias, values[0], atol=1e-4)
    trace = editor.edit(lm, memory, [fact])
    target_norm = (projection.matrix @ keys[0] + bias).norm().item()
    assert target_norm == pytest.approx(trace.records[0].target_norm, rel=1e-4)


def test_keys_are_the_weighted_means_of_single_passes(lm):
    fact, other = small_models.facts()[1], small_models.facts()[0]
    contexts = small_models.CONTEXTS["grouped"]
    places = [(1, "mlp_key"), (1, "residual")]
    seen = at_subject(lm, [fact, other], contexts, places)
    single = {place: [] for place in places}
    for template in contexts:
        text, span = fill(template, fact.question, fact.subject_span)
        encoded = encode(lm.tokenizer, text)
        with reading(lm.anatomy, places) as now:
            lm.model(input_ids=torch.tensor([encoded.ids]))
        for place in places:
            single[place].append(now[place][0, last_token_of(encoded, span)])
    for place in places:
        assert torch.allclose(seen[place][0], torch.stack(single[place]), atol=1e-5)
    first, second, third = single[1, "mlp_key"]
    mean = mean_over_contexts(seen[1, "mlp_key"], grouped=True)[0]
    assert torch.allclose(mean, 0.5 * first + 0.25 * second + 0.25 * third, atol=1e-5)
    plain = mean_over_contexts(seen[1, "mlp_key"], grouped=False)[0]
    assert torch.allclose(plain, (first + second + third) / 3, atol=1e-5)


def test_a_step_left_out_is_that_of_the_unedited_vectors_and_stays(lm):
    settings = settings_of("r_rome")
    assert settings.learning_rate is None
    editor, memory = make("r_rome", lm)
    seen = at_subject(lm, small_models.facts(), ["{}"], [(1, "mlp_output")])[1, "mlp_output"]
    assert memory["rates"].item() == pytest.approx(0.5 * seen.square().mean().sqrt().item(), rel=1e-5)
    before = memory["rates"].clone()
    editor.edit(lm, memory, small_models.facts()[:1])
    assert torch.equal(memory["rates"], before)
    given = declaration("r_rome").build(settings.model_copy(update={"learning_rate": 0.3}))
    given.prepare(lm, small_models.resources(lm))
    assert given.begin(lm) == {}


def test_memit_brings_the_values_nearer_to_their_targets_layer_by_layer(lm):
    editor, memory = make("memit", lm)
    facts = small_models.facts()[:2]
    distances = []
    locate = editor._locate

    def watched(*args):
        located, residual = locate(*args)
        distances.append(residual.norm().item())
        return located, residual

    editor._locate = watched
    wanted = editor.search(lm, memory, facts).values
    trace = editor.edit(lm, memory, facts)
    assert sorted(trace.changes) == [0, 1]
    left = wanted - at_subject(lm, facts, ["{}"], [editor.top])[editor.top][:, 0]
    assert distances[0] > distances[1] > left.norm().item()
    offsets = torch.tensor([record.offset_norm for record in trace.records])
    assert distances[0] == pytest.approx(offsets.norm().item(), rel=1e-4)


def test_too_few_tokens_for_the_second_moment_say_what_to_do(lm):
    editor, memory = make("r_rome", lm)
    moment = editor.preserved[1].moment
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
    with pytest.raises(KeyError, match=r"unknown editor 'mimit'; known are alphaedit, emmet,"):
        declaration("mimit")


@pytest.mark.parametrize("kind", [*WRITERS, "norm_restored"])
def test_single_edits_leave_no_trace(lm, kind):
    """Each fact edited alone, scored and undone: the weights end bit for bit as before, in any order of facts."""
    editor, memory = make(kind, lm)
    before = weights(lm)
    facts = small_models.facts()[:2]
    scores = score_single_edits(lm, editor, memory, facts)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())
    again = score_single_edits(lm, editor, memory, facts[::-1])
    pd.testing.assert_frame_equal(scores, again[::-1].reset_index(drop=True), check_exact=True)
    assert (scores["delta_frobenius"] > 0).all()
