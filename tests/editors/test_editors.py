"""Every editor on small models: post-conditions, locality of the change, exact undoing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2LMHeadModel

from benchmarks import plain
from normgrowth.editors.locate.keys import at_subject, mean_over_contexts
from normgrowth.editors.locate.method import Share
from normgrowth.editors.registry import declaration
from normgrowth.errors import EditError, ModelError
from normgrowth.lm.hooks import changing, reading
from normgrowth.lm.tokens import encode, fill, last_token_of
from normgrowth.measure.scores import score_single_edits
from tests.support import small_models
from tests.support.every_editor import NAMES, WRAPPED, WRITERS, build, hypernetwork_of, innermost, settings_of


def make(kind, lm):
    editor = build(kind)
    editor.prepare(lm, replace(small_models.resources(lm), hypernetwork=hypernetwork_of(kind, lm)))
    return editor, editor.begin(lm)


def weights(lm):
    return {name: parameter.clone() for name, parameter in lm.model.named_parameters()}


@pytest.mark.parametrize("kind", NAMES)
def test_only_the_edited_matrices_change_and_undoing_is_exact(lm, kind):
    editor, memory = make(kind, lm)
    before = weights(lm)
    facts = small_models.facts()[: settings_of(kind).batch]
    trace = editor.edit(lm, memory, facts)
    projections = [lm.anatomy.down_projections[layer] for layer in editor.layers]
    edited = {projection.name for projection in projections}
    if innermost(kind) in ("ft", "ft_l") and not kind.startswith("simie"):  # published code trains the bias too
        edited |= {p.name.removesuffix("weight") + "bias" for p in projections if "bias" in p.parameters}
    changed = {name for name, weight in weights(lm).items() if not torch.equal(weight, before[name])}
    assert changed == edited
    assert [record.case_id for record in trace.records] == [fact.case_id for fact in facts]
    for name, parameter in lm.model.named_parameters():
        parameter.copy_(before[name])
        assert not parameter.requires_grad
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())


@pytest.mark.parametrize("kind", [*WRITERS, *WRAPPED])
def test_an_edit_makes_the_new_object_more_probable(lm, kind):
    editor, memory = make(kind, lm)
    fact = small_models.facts()[0]
    before, _ = plain.loss_of(lm, fact.question, fact.target_new)
    editor.edit(lm, memory, [fact])
    assert plain.loss_of(lm, fact.question, fact.target_new)[0] < before


@pytest.mark.parametrize("kind", NAMES)
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
    moment = editor.method.writer.preserved[1].moment
    moment.moment = moment.moment * 0
    with pytest.raises(ModelError, match=r"layer 1 is not positive definite: 1536 tokens are too few .* raise second"):
        editor.edit(lm, memory, small_models.facts()[:1])


def test_fine_tuning_names_the_edit_that_fails(lm):
    editor, memory = make("ft", lm)
    lm.anatomy.down_projections[2].weight.fill_(float("inf"))
    with pytest.raises(EditError, match="fine-tuning on case 10 gave a loss of nan at step 0"):
        editor.edit(lm, memory, small_models.facts()[:1])


def test_fine_tuning_is_adam_on_the_last_prompt_token(lm):
    """Two steps of the editor against two of torch's Adam on every parameter whose name contains the module's."""
    fact = small_models.facts()[3]
    before = weights(lm)
    settings = declaration("ft").Settings(layers=(1,), steps=2, weight_decay=0.1)
    declaration("ft").build(settings).edit(lm, {}, [fact])
    after = weights(lm)
    for name, parameter in lm.model.named_parameters():
        parameter.copy_(before[name])
    module = lm.anatomy.down_projections[1].name.removesuffix(".weight")
    trained = {name: parameter for name, parameter in lm.model.named_parameters() if module in name}
    assert len(trained) == (2 if isinstance(lm.model, GPT2LMHeadModel) else 1)
    adam = torch.optim.Adam(trained.values(), lr=5e-4, weight_decay=0.1)
    ids = lm.tokenizer(fact.question)["input_ids"]
    whole = lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"]
    with torch.enable_grad():
        for parameter in trained.values():
            parameter.requires_grad_(True)
        for _ in range(2):
            predicted = lm.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            adam.zero_grad()
            (-predicted[whole[len(ids) :]].mean()).backward()
            adam.step()
    for name, parameter in lm.model.named_parameters():
        assert torch.allclose(after[name], parameter, atol=2e-6), name
        assert torch.equal(after[name], before[name]) == (name not in trained), name


@pytest.mark.parametrize("recentre", [False, True])
def test_the_ball_holds_biases_too(recentre):
    lm = small_models.language_model_of("gpt2")
    settings = declaration("ft_l").Settings(layers=(1,), learning_rate=0.01, radius=0.002, recentre=recentre, steps=4)
    editor = declaration("ft_l").build(settings)
    editor.prepare(lm, small_models.resources(lm))
    projection = lm.anatomy.down_projections[1]
    before = {name: parameter.clone() for name, parameter in projection.parameters.items()}
    assert sorted(before) == ["bias", "weight"]
    for calls, fact in enumerate(small_models.facts()[:2], 1):
        editor.edit(lm, {}, [fact])
        for name, parameter in projection.parameters.items():
            moved = (parameter - before[name]).abs().max().item()
            assert moved == pytest.approx(0.002 * (calls if recentre else 1), rel=1e-3), name


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_without_a_radius_the_ball_follows_the_weights(scale):
    """Weights and bias come as far as 80 root mean square weights over the input width, and no farther."""
    lm = small_models.language_model_of("gpt2")
    projection = lm.anatomy.down_projections[1]
    projection.matrix.mul_(scale)
    before = {name: parameter.double().numpy().copy() for name, parameter in projection.parameters.items()}
    radius = 80 * np.sqrt(np.mean(before["weight"] ** 2)) / before["weight"].shape[0]  # GPT-2's are [in, out]
    editor = declaration("ft_l").build(declaration("ft_l").Settings(layers=(1,), learning_rate=radius, steps=4))
    editor.prepare(lm, small_models.resources(lm))
    editor.edit(lm, {}, small_models.facts()[:1])
    for name, parameter in projection.parameters.items():
        moved = np.abs(parameter.double().numpy() - before[name]).max()
        assert moved == pytest.approx(radius, rel=1e-3), name


@pytest.mark.parametrize("facts", [1, 2, 3])
def test_emmets_slack_depends_on_the_facts_at_hand(lm, facts):
    """A single fact's constraint is met exactly whatever the setting `batch` is, and several have the slack."""
    chosen = small_models.facts()[:facts]
    updates = []
    for batch, slack in ((facts, 0.1), (5, 0.1), (5, 0.0)):
        settings = settings_of("emmet").model_copy(update={"batch": batch, "slack": slack})
        editor = declaration("emmet").build(settings)
        editor.prepare(lm, small_models.resources(lm))
        memory = editor.begin(lm)
        projection = lm.anatomy.down_projections[1]
        before = projection.matrix.clone()
        editor.edit(lm, memory, chosen)
        updates.append(projection.matrix - before)
        projection.matrix.copy_(before)
    assert torch.equal(updates[0], updates[1])
    assert torch.equal(updates[0], updates[2]) == (facts == 1)


def test_emmet_in_single_edits_and_in_a_last_batch_of_one_is_exact(lm):
    """(W + Δ) k = W k + R for one fact: the whole residual is written."""
    editor, memory = make("emmet", lm)
    assert editor.settings.batch == 2 and editor.settings.slack == 0.1
    projection = lm.anatomy.down_projections[1]
    for fact in small_models.facts()[:2]:
        wanted = editor.search(lm, memory, [fact]).values
        located, residual = editor._locate(lm, memory, [fact], Share(layer=1, layers_left=1, wanted=wanted))
        before = projection.matrix.clone()
        editor.edit(lm, memory, [fact])
        written = (projection.matrix - before) @ located.keys
        assert torch.allclose(written[:, 0], residual[0], atol=1e-3 * residual.norm().item())


def two_of_one_subject(lm):
    """Two facts about one subject after the same words: one key."""
    first = small_models.facts()[1]
    return [first, replace(first, case_id=99, prompt="{} is at home in", target_new="Rome")]


def test_facts_of_one_key_are_refused_by_exact_editors_by_name_and_written_by_others(lm):
    facts = [small_models.facts()[0], *two_of_one_subject(lm)]
    settings = settings_of("emmet").model_copy(update={"batch": 3, "slack": 0.0})
    editor = declaration("emmet").build(settings)
    editor.prepare(lm, small_models.resources(lm))
    before = weights(lm)
    with pytest.raises(EditError) as raised:
        editor.edit(lm, editor.begin(lm), facts)
    assert str(raised.value) == (
        "the update of layer 1 for case 11, 99 cannot send keys that depend on each other to different values "
        "exactly (facts about one subject after the same words have one key): set slack above 0, or edit them in "
        "different batches"
    )
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())
    for kind in ("emmet", "memit", "encore", "alphaedit", "pmet"):
        other, memory = make(kind, lm)
        other.edit(lm, memory, facts)
        assert torch.isfinite(lm.anatomy.down_projections[1].matrix).all()


def test_the_same_fact_twice_in_a_batch_is_written_once_by_an_exact_editor(lm):
    fact = small_models.facts()[1]
    settings = settings_of("emmet").model_copy(update={"slack": 0.0})
    updates = []
    for facts in ([fact], [fact, replace(fact, case_id=99)]):
        editor = declaration("emmet").build(settings)
        editor.prepare(lm, small_models.resources(lm))
        memory = editor.begin(lm)
        projection = lm.anatomy.down_projections[1]
        before = projection.matrix.clone()
        editor.edit(lm, memory, facts)
        updates.append(projection.matrix - before)
        projection.matrix.copy_(before)
    assert (updates[0] - updates[1]).norm() <= 1e-3 * updates[0].norm()


def test_a_key_of_zeros_is_refused_in_one_line(lm):
    """ReLU leaves such keys; here the whole layer's keys are put to zero."""
    editor, memory = make("emmet", lm)
    before = weights(lm)
    with changing(lm.anatomy, (1, "mlp_key"), torch.zeros_like), pytest.raises(EditError) as raised:
        editor.edit(lm, memory, small_models.facts()[:1])
    assert str(raised.value).startswith("the update of layer 1 for case 10 would divide by 0, which is rounding")
    assert "\n" not in str(raised.value)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(lm).items())


def test_a_hypernetwork_without_a_ridge_names_layer_and_facts(lm):
    editor, memory = make("malmen", lm)
    editor.parameters["rho"] = torch.full_like(editor.parameters["rho"], -1000.0)
    with (
        changing(lm.anatomy, (2, "mlp_key"), torch.ones_like),
        pytest.raises(EditError, match=r"the update of layer 2 for case 10, 11 has no solution: .* train the hypernet"),
    ):
        editor.edit(lm, memory, small_models.facts()[:2])


def test_nas_searches_its_pilots_as_published_code_does(lm):
    """Bare prompts, 16 at a time, no early stop by rank; the largest twentieth is left out, none is rejected."""
    from normgrowth.editors.locate.search import Search, search_targets

    many = [
        replace(fact, case_id=100 * number + fact.case_id, target_new=small_models.PLACES[number])
        for number in range(4)
        for fact in small_models.facts()
    ]
    settings = settings_of("nas").model_copy(
        update={
            "pilot_facts": 24,
            "learning_rate": 0.2,
            "stop_loss": 3.0,
            "most_probable_stop": 1,
            "reject_above": 0.01,
        }
    )
    editor = declaration("nas").build(settings)
    editor.prepare(lm, replace(small_models.resources(lm), facts=tuple(many)))
    anchor = editor.begin(lm)["anchor"]
    values = []
    for part in (many[:16], many[16:]):
        found = search_targets(
            lm,
            part,
            ["{}"],
            Search(((1, "residual"),), settings.model_copy(update={"most_probable_stop": 0}), together=True),
        )
        assert len(set(found.steps)) == 1
        for fact, offset in zip(part, found.offsets, strict=True):
            values.append((plain.at_subject(lm, fact, ["{}"], (1, "mlp_output"))[0] + offset).norm())
    kept = torch.stack(values).sort().values[:23]
    assert anchor.item() == pytest.approx(kept.mean().item(), rel=1e-4)


def test_unknown_editors_are_named():
    with pytest.raises(KeyError, match=r"unknown editor 'mimit'; known are .*alphaedit, .*emmet,"):
        declaration("mimit")


@pytest.mark.parametrize("kind", [*WRITERS, "norm_restored", "no_feedback", *WRAPPED])
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
