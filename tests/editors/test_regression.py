"""Regression on gradients (UltraEdit, StableEdit): algebra against numpy in float64, the warm-up, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from normgrowth.editors.base import Resources
from normgrowth.editors.hypernetwork.networks import TokenGradients, token_gradients
from normgrowth.editors.registry import declaration
from normgrowth.editors.regression.editing import regression
from normgrowth.editors.regression.running import Running
from normgrowth.errors import EditError
from normgrowth.lm.continuations import continuations
from tests.support import small_models

KINDS = ("ultraedit", "stableedit")
CPU = torch.device("cpu")
INPUTS, OUTPUTS = 7, 4


def tokens_of(m, seed=0, d=INPUTS, o=OUTPUTS):
    """Inputs and gradients of unequal scales and means, as models have them."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(m, d)) * np.logspace(-1, 1, d) + random.normal(size=d)
    gradients = (random.normal(size=(m, o)) @ random.normal(size=(o, o))) * 1e-3 + 2e-4
    return TokenGradients(torch.tensor(inputs), torch.tensor(gradients))


def rows(tokens):
    return torch.cat([tokens.inputs, tokens.gradients], dim=1).numpy()


def part(tokens, chosen):
    return TokenGradients(tokens.inputs[chosen], tokens.gradients[chosen])


def running_over(tokens, sizes, products=True):
    running, start = Running.begin(INPUTS, OUTPUTS, CPU, products), 0
    for size in sizes:
        running = running.updated(part(tokens, slice(start, start + size)))
        start += size
    return running


def deviations(apart):
    """Standard deviations, and 1e-7 of their root mean square."""
    return apart.std(axis=0) + 1e-7 * np.sqrt(apart.var(axis=0).mean())


def dense(change):
    return change.left.double() @ change.right.double().T


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 2**31))
def test_running_statistics_equal_those_of_all_tokens_at_once(sizes, seed):
    tokens = tokens_of(sum(sizes), seed)
    running, all_rows = running_over(tokens, sizes), rows(tokens)
    assert running.count == len(all_rows)
    np.testing.assert_allclose(running.mean, all_rows.mean(axis=0), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(running.squares / running.count, all_rows.var(axis=0), rtol=1e-9, atol=1e-20)
    products = (
        np.cov(all_rows[:, INPUTS:], rowvar=False, bias=True) if running.count > 1 else np.zeros((OUTPUTS, OUTPUTS))
    )
    np.testing.assert_allclose(running.products / running.count, products, rtol=1e-7, atol=1e-17)


def test_statistics_come_back_from_memory():
    running, memory = running_over(tokens_of(9), [4, 5]), {}
    running.to_memory(memory, "3")
    again = Running.of_memory(memory, "3", INPUTS)
    assert again.count == running.count and again.inputs == INPUTS
    for name in ("mean", "squares", "products"):
        assert torch.equal(getattr(again, name), getattr(running, name))


def test_rows_are_normalised_coordinate_by_coordinate_in_ultraedit():
    tokens = tokens_of(12)
    h, g = running_over(tokens, [5, 7], products=False).normalised(tokens)
    expected = (rows(tokens) - rows(tokens).mean(axis=0)) / rows(tokens).std(axis=0)
    np.testing.assert_allclose(torch.cat([h, g], dim=1), expected, rtol=1e-5)


def test_stableedit_whitens_by_the_full_covariance_once_it_has_the_tokens():
    few, many = tokens_of(OUTPUTS + 1), tokens_of(40)
    _, g = running_over(few, [OUTPUTS + 1]).normalised(few)
    np.testing.assert_allclose(
        g, (rows(few) - rows(few).mean(axis=0))[:, INPUTS:] / rows(few)[:, INPUTS:].std(axis=0), rtol=1e-5
    )
    h, g = running_over(many, [3, 30, 7]).normalised(many)
    apart = rows(many) - rows(many).mean(axis=0)
    np.testing.assert_allclose(h, apart[:, :INPUTS] / apart[:, :INPUTS].std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(g.T @ g / (40 - OUTPUTS - 1), np.eye(OUTPUTS), atol=1e-9)
    covariance = apart[:, INPUTS:].T @ apart[:, INPUTS:] / (40 - OUTPUTS - 1)
    values, vectors = np.linalg.eig(covariance)
    np.testing.assert_allclose(g, apart[:, INPUTS:] @ vectors @ np.diag(values**-0.5) @ vectors.T, rtol=1e-8)


def test_directions_without_variance_are_not_blown_up():
    """Eigenvalues are raised to 1e-6 of their mean."""
    tokens = tokens_of(40)
    tokens.gradients[:, 0] = tokens.gradients[:, 1]
    _, g = running_over(tokens, [40]).normalised(tokens)
    assert torch.isfinite(g).all() and g.abs().max() < 10
    still = TokenGradients(tokens.inputs.clone(), tokens.gradients)
    still.inputs[:, 2] = 5.0
    h, _ = running_over(still, [40]).normalised(still)
    assert (h[:, 2] == 0).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 20), st.floats(1e-3, 1e3), st.floats(1e-6, 10.0), st.booleans(), st.integers(0, 2**31))
def test_the_update_solves_the_ridge_regression_in_its_wide_form(m, ridge, rate, products, seed):
    """Δᵀ = (HᵀH + aI)⁻¹ HᵀV with V as in the paper, by the d x d system."""
    tokens = tokens_of(m, seed)
    running = running_over(tokens, [m], products)
    change = regression(tokens, running, torch.tensor(rate), torch.tensor(ridge))
    assert change.left.shape == (OUTPUTS, m) and change.right.shape == (INPUTS, m)
    apart = rows(tokens) - rows(tokens).mean(axis=0)
    h, g = apart[:, :INPUTS] / deviations(apart[:, :INPUTS]), apart[:, INPUTS:]
    if products and m > OUTPUTS + 1:
        values, vectors = np.linalg.eigh(g.T @ g / (m - OUTPUTS - 1))
        g = g @ (vectors / np.sqrt(np.maximum(values, 1e-6 * values.mean()))) @ vectors.T
    else:
        g = g / deviations(g)
    shifts = np.stack([-rate * (h[i] @ h[i]) * g[i] for i in range(m)])
    inputs = tokens.inputs.numpy()
    expected = np.linalg.solve(inputs.T @ inputs + ridge * np.eye(INPUTS), inputs.T @ shifts).T
    # float32 factors: rounding is in units of the parts that are added up
    size = np.abs(change.left.numpy()) @ np.abs(change.right.numpy()).T
    assert (np.abs(dense(change).numpy() - expected) <= 1e-5 * size + 1e-5 * np.abs(expected).max()).all()


def test_the_order_of_tokens_does_not_matter_once_the_statistics_are_fixed():
    tokens = tokens_of(6)
    running, given = running_over(tokens, [6]), (torch.tensor(0.1), torch.tensor(2.0))
    turned = regression(part(tokens, [3, 0, 5, 1, 4, 2]), running, *given)
    assert torch.allclose(dense(regression(tokens, running, *given)), dense(turned), rtol=1e-4, atol=1e-6)


def test_the_change_is_linear_in_the_rate_and_vanishes_with_it():
    tokens = tokens_of(6)
    running = running_over(tokens, [6])
    changes = [regression(tokens, running, torch.tensor(r), torch.tensor(2.0)) for r in (0.0, 1e-9, 0.1, 0.3)]
    norms = [dense(change).norm().item() for change in changes]
    assert norms[0] == 0 and norms[1] == pytest.approx(norms[2] * 1e-8, rel=1e-4)
    assert norms[3] == pytest.approx(3 * norms[2], rel=1e-5)


def test_a_token_that_is_all_there_was_to_see_writes_nothing():
    """It equals the mean; with the variance of a sample it would be not a number."""
    tokens = tokens_of(1)
    change = regression(tokens, running_over(tokens, [1]), torch.tensor(0.1), torch.tensor(1.0))
    assert dense(change).norm() == 0


def test_gradients_may_weigh_tokens_alike(lm):
    """Their sum over tokens is the weight's gradient of the summed loss of all objects' tokens."""
    facts = [small_models.facts()[2], small_models.facts()[0]]  # an object of several tokens, and one of one
    _, tokens = token_gradients(lm, facts, (1,), answer_tokens_only=False, weigh="tokens")
    projection = lm.anatomy.down_projections[1]
    projection.weight.requires_grad_(True)
    batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
    total = torch.nn.functional.nll_loss(batch.predictions(lm), batch.token, reduction="sum")
    (gradient,) = torch.autograd.grad(total, [projection.weight])
    projection.weight.requires_grad_(False)
    found = tokens[1].gradients.T @ tokens[1].inputs
    assert torch.allclose(found, gradient.T if projection.is_transposed else gradient, atol=1e-5)


def editor_of(kind, lm, reserved=(), facts=(), **given):
    module = declaration(kind)
    editor = module.build(module.Settings(**{"layers": [1, 2], "batch": 2, **given}))
    editor.prepare(lm, Resources({}, facts=tuple(facts), reserved=tuple(reserved)))
    return editor


def matrices(lm):
    return {layer: lm.anatomy.down_projections[layer].matrix.clone() for layer in (1, 2)}


@pytest.mark.parametrize("shared", [False, True])
def test_statistics_take_the_batch_in_before_it_is_normalised_by_layer_or_by_shape(lm, shared):
    facts = small_models.facts()
    editor = editor_of("ultraedit", lm, learning_rate=1e-3, ridge=0.5, warm_up=0, shared_statistics=shared)
    memory, seen = editor.begin(lm), {1: [], 2: []}
    for batch in (facts[2:4], facts[4:6]):
        _, tokens = token_gradients(lm, batch, (1, 2), answer_tokens_only=True, weigh="tokens")
        before = matrices(lm)
        trace = editor.edit(lm, memory, batch)
        for layer in (1, 2):
            seen[layer].append(rows(tokens[layer]).astype(float))
        for layer in (1, 2):
            known = np.concatenate([*seen[1], *seen[2]] if shared else seen[layer])
            own, d = seen[layer][-1], tokens[layer].inputs.shape[1]
            normal = (own - known.mean(axis=0)) / known.std(axis=0)
            shifts = -1e-3 * (normal[:, :d] ** 2).sum(axis=1, keepdims=True) * normal[:, d:]
            h = own[:, :d]
            expected = shifts.T @ np.linalg.solve(h @ h.T + 0.5 * np.eye(len(h)), h)
            change = (lm.anatomy.down_projections[layer].matrix - before[layer]).numpy()
            np.testing.assert_allclose(change, expected, atol=1e-4 * np.abs(expected).max())
            assert trace.changes[layer].left.shape[1] == len(own)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_facts_in_a_batch_does_not_matter(kind):
    found = []
    for facts in (small_models.facts()[2:4], small_models.facts()[2:4][::-1]):
        lm = small_models.language_model_of("gpt2")
        editor = editor_of(kind, lm, facts=small_models.facts())
        editor.edit(lm, editor.begin(lm), facts)
        found.append(matrices(lm))
    for layer in (1, 2):
        assert torch.allclose(found[0][layer], found[1][layer], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rate_and_ridge_follow_the_model_and_stay_as_they_were(lm, kind):
    editor = editor_of(kind, lm, facts=small_models.facts())
    memory = editor.begin(lm)
    _, tokens = token_gradients(lm, small_models.facts(), (1, 2), answer_tokens_only=True)
    for number, layer in enumerate((1, 2)):
        matrix = lm.anatomy.down_projections[layer].matrix
        o, d = matrix.shape
        outputs = (tokens[layer].inputs @ matrix.T).square().sum(dim=1).mean().sqrt().item()
        assert memory["rates"][number].item() == pytest.approx(3 * outputs / (d * o**0.5), rel=1e-4)
        size = tokens[layer].inputs.square().sum(dim=1).mean().item()
        assert memory["ridges"][number].item() == pytest.approx(0.1 * size, rel=1e-4)
    before = {name: memory[name].clone() for name in ("rates", "ridges")}
    editor.edit(lm, memory, small_models.facts()[:2])
    assert all(torch.equal(memory[name], tensor) for name, tensor in before.items())
    given = editor_of(kind, lm, learning_rate=0.25, ridge=4.0).begin(lm)
    assert given["rates"].tolist() == [0.25, 0.25] and given["ridges"].tolist() == [4.0, 4.0]


def test_the_warm_up_takes_reserved_facts_and_writes_nothing(lm):
    facts, before = small_models.facts(), matrices(lm)
    warm = editor_of("ultraedit", lm, reserved=facts[:4], facts=facts[4:], warm_up=2).begin(lm)
    assert all(torch.equal(now, before[layer]) for layer, now in matrices(lm).items())
    _, tokens = token_gradients(lm, facts[:4], (1, 2), answer_tokens_only=True, weigh="tokens")
    assert warm["count.1"] == len(tokens[1].inputs)
    np.testing.assert_allclose(warm["mean.2"], rows(tokens[2]).mean(axis=0), atol=1e-5)
    every = editor_of("ultraedit", lm, reserved=facts[:4], facts=facts[4:]).begin(lm)
    assert torch.allclose(every["mean.1"], warm["mean.1"])
    own = editor_of("ultraedit", lm, facts=facts[:4]).begin(lm)
    assert torch.allclose(own["mean.1"], warm["mean.1"])
    assert editor_of("ultraedit", lm, reserved=facts[:4], facts=facts, warm_up=0).begin(lm)["count.1"] == 0


def test_a_warm_up_as_edits_is_made_in_the_first_call_once_and_is_part_of_its_change():
    facts = small_models.facts()
    given = {"warm_up": 0, "learning_rate": 1e-3, "ridge": 0.5}
    lm = small_models.language_model_of("llama")
    plain, unedited = editor_of("ultraedit", lm, **given), matrices(lm)
    memory = plain.begin(lm)
    for batch in (facts[:2], facts[2:4], facts[4:5], facts[5:]):
        plain.edit(lm, memory, batch)
    wanted, lm = matrices(lm), small_models.language_model_of("llama")
    editor = editor_of("ultraedit", lm, reserved=facts[:4], **{**given, "warm_up": 2, "warm_up_as": "edits"})
    memory = editor.begin(lm)
    assert memory["count.1"] == 0 and all(torch.equal(now, unedited[layer]) for layer, now in matrices(lm).items())
    first = editor.edit(lm, memory, facts[4:5])
    second = editor.edit(lm, memory, facts[5:])
    assert [record.case_id for record in first.records] == [facts[4].case_id]
    assert first.changes[1].left.shape[1] > second.changes[1].left.shape[1]
    for layer, now in matrices(lm).items():
        assert torch.allclose(now, wanted[layer], atol=1e-6)
        replayed = unedited[layer] + first.changes[layer].left @ first.changes[layer].right.T
        assert torch.equal(replayed + second.changes[layer].left @ second.changes[layer].right.T, now)


def test_what_cannot_be_is_refused(lm):
    facts = small_models.facts()
    with pytest.raises(
        EditError, match="warm_up takes 3 batches of 2 facts that no run edits, and 4 are reserved: raise"
    ):
        editor_of("ultraedit", lm, reserved=facts[:4], warm_up=3)
    with pytest.raises(EditError, match="learning_rate or ridge is left out, and there are no facts to fit it to"):
        editor_of("stableedit", lm).begin(lm)
    for warm_up in (None, 0):
        with pytest.raises(ValidationError, match=f"warm_up is {warm_up}, and warm_up_as writes the warm-up's facts"):
            declaration("ultraedit").Settings(warm_up=warm_up, warm_up_as="edits")


def test_a_call_that_writes_nothing_says_so(lm):
    single = replace(small_models.facts()[0], target_new="Rome")
    assert len(token_gradients(lm, [single], (1,), answer_tokens_only=True)[1][1].inputs) == 1
    editor = editor_of("ultraedit", lm, learning_rate=1e-3, ridge=1.0, warm_up=0)
    before = matrices(lm)
    memory = editor.begin(lm)
    (record,) = editor.edit(lm, memory, [single]).records
    assert record.skipped_reason == "no other token seen to normalise by"
    assert all(torch.equal(now, before[layer]) for layer, now in matrices(lm).items())
    (record,) = editor.edit(lm, memory, [small_models.facts()[1]]).records
    assert record.skipped_reason is None


def test_layers_by_depth_are_the_last_third_without_the_last():
    by_depth = declaration("ultraedit").Settings.layers_by_depth
    assert by_depth(28) == tuple(range(18, 27)) and by_depth(6) == (4,) and by_depth(2) == (1,) and by_depth(1) == (0,)
